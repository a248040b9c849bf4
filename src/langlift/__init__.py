"""langlift lifts small multilingual language models into low-resource languages."""
