"""Results as pages and pictures; nothing is computed here."""
