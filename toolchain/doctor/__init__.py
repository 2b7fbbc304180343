"""What is missing or wrong on this machine or on a board, and what mends it; nothing is changed."""
