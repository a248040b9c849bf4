"""How adapters lie on disk."""
