"""Parameter masks, one module for each kind: some parameters of the model do not move."""
