"""Pretraining by masked-language modelling, up to a folder that is fine-tuned from as from a fetched model."""
