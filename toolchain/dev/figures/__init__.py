"""The figures of the README and of ``docs/``: measured by a command, written by a command."""
