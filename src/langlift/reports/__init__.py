"""Results as pages and charts; nothing is computed here."""
