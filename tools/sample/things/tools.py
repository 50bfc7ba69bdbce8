"""Instruments and things to work with."""
