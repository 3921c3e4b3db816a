"""Several cells trained at once: their parameters are stacked, and one pass serves all of them."""
