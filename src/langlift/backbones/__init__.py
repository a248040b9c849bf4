"""What a backbone is."""
