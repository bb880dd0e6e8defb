"""The threat model, row by row."""
