"""Which base model to use for a language, and what to do with it: measures, limits, advice."""
