"""A page in the browser to try runs."""
