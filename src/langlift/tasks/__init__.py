"""Tasks: labelled data, training and measuring."""
