"""Heads: from hidden states to labels."""
