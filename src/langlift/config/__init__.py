"""Recipes and how they are read."""
