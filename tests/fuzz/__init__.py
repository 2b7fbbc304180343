"""Mutated models through what reads them: our reader in Python, and the runner with a sanitizer."""
