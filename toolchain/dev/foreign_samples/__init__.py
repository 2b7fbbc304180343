"""Real output of other benchmark tools, for the tests of what reads it."""
