"""Mask strategies: typed parameters and a few hooks each; importing them does not import torch."""

from __future__ import annotations

from maskbench.masks import attention, input, objective, parameter
from maskbench.masks.strategy import Strategy

__all__ = ["Strategy", "attention", "input", "objective", "parameter"]
