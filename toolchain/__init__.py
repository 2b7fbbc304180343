"""Tileskip: networks with spatial masks from PyTorch to small ARM boards."""

__version__ = "0.1.0"
