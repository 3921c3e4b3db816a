"""Typed blocks of the configuration: one module per block, nothing heavier than pydantic and PyYAML."""
