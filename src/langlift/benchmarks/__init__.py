"""Speed, memory and exactness, measured side by side with the reference library."""
