"""Boards: their files, how they are reached, the emulated one, and what is done on them."""
