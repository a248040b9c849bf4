"""What a model has to predict."""
