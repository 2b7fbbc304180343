"""The commands as functions of Python: ``from toolchain import Board, convert, build, profile``."""
