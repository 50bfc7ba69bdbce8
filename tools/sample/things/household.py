"""Things about the house."""
