"""A profile: what the runner measured, facts of the board, comparison."""
