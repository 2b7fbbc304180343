"""Readers of what other benchmark tools write, a module each."""
