"""Text in."""
