"""Buildings and monuments."""
