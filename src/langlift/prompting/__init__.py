"""Prompting of large language models: prompts, models and servers, and the parsing of answers."""
