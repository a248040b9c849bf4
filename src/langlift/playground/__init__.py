"""A page on this machine where a speaker tries finished runs on sentences of their own."""
