"""Interference, measured on trained models: unmasked input, eval mode, fixed data."""
