"""Texts for pretraining: corpora of documents in order, and packs of token ids made of them."""
