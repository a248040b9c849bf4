"""Studies: many runs from one file, planned, priced, executed and analysed."""
