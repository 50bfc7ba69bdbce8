"""Bottles, jugs and other vessels."""
