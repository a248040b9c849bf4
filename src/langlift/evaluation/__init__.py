"""Metrics, perplexity and alignment."""
