"""Parameter masks: some parameters of the model do not move."""

from maskbench.masks.parameter.adapters import AdaLora, Lora
from maskbench.masks.parameter.freezing import BiasOnly, Freeze, HeadOnly
from maskbench.masks.parameter.gradient import ChildD, ChildF
from maskbench.masks.parameter.twin import StepTwin
from maskbench.masks.parameter.weights import LearnedWeights

__all__ = ["AdaLora", "BiasOnly", "ChildD", "ChildF", "Freeze", "HeadOnly", "LearnedWeights", "Lora", "StepTwin"]
