"""What the commands do with a board and with models: read, connect, take the board, work."""
