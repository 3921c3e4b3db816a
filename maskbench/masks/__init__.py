"""Mask strategies: typed parameters and a few hooks each; importing them imports neither torch nor any kind of mask."""

from __future__ import annotations

from maskbench.masks.strategy import Strategy

__all__ = ["Strategy"]
