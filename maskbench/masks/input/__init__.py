"""Input masks, one module for each kind: tokens of the training text are replaced before the model sees them."""
