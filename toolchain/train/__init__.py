"""`deploy train`: data, recipes and the training loop."""
