"""The parts of ``docs/`` that follow from the code: commands, keys, exit codes, schemas, a drawing.

They are committed, so that they read in the repository as well; a test holds that they are current.
"""
