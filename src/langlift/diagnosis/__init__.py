"""Choosing a base model for a language, and how to adapt it: measures, limits, advice."""
