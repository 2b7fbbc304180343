"""A profile: what the runner measured on a board, what the board is, and how two compare."""
