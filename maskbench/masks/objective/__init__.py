"""Objectives, one module for each kind: what masking adds to the task loss."""
