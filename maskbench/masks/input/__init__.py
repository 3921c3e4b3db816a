"""Input masks: tokens of the training text are replaced before the model sees them."""

from maskbench.masks.input.chance import Random, Static

__all__ = ["Random", "Static"]
