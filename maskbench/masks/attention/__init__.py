"""Attention masks, one module for each kind: which keys a query may see."""
