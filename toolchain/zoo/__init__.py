"""Network definitions, the data they are trained on, and the checkpoints made from it."""
