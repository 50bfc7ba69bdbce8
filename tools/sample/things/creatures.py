"""Creatures, and toys in their shape."""
