"""Which base model for a language, and what to do with it: measures, thresholds, advice."""
