"""Spatial masks on convolutions: laying them on, training with them, keeping them in files."""
