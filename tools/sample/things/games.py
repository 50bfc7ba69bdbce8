"""Balls, and other things to play and train with."""
