"""vitquant: what quantization does to a vision transformer, on real pictures and in numbers one can trust."""

__version__ = "0.1.0"
