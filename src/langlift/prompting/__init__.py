"""Large models asked by prompts: what they are asked, how, and what is made of their answers."""
