"""Input masks: tokens of the training text are replaced before the model sees them."""

from maskbench.masks.input.chance import Random, Static
from maskbench.masks.input.content import Entity, Keyword, OracleCue, Semantic
from maskbench.masks.input.model import Adaptive, Generated, Learned
from maskbench.masks.input.pattern import FixedPositions, Span, Tail
from maskbench.masks.input.twin import RateTwin

__all__ = [
    "Adaptive",
    "Entity",
    "FixedPositions",
    "Generated",
    "Keyword",
    "Learned",
    "OracleCue",
    "Random",
    "RateTwin",
    "Semantic",
    "Span",
    "Static",
    "Tail",
]
