"""Many runs from one file: planned, priced, run, and read back."""
