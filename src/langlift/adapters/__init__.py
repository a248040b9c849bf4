"""Adapters: small trainable parts inside a frozen model."""
