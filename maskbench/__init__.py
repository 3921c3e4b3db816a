"""maskbench: does masking reduce interference when a pretrained language model is fine-tuned? A reproducible study."""

__version__ = "0.1.0"
