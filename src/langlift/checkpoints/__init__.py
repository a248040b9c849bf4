"""Adapter folders: layouts, loading and saving, import and export."""
