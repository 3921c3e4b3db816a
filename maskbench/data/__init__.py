"""Text and models: fetched by pinned hash, prepared and encoded once."""
