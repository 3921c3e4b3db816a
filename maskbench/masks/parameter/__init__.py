"""Parameter masks: some parameters of the model do not move."""

from maskbench.masks.parameter.freezing import Freeze

__all__ = ["Freeze"]
