"""The test kit for plugin authors: tiny models and batches, and a method's loss terms on them."""

from harness.testing.terms import loss_terms
from harness.testing.tiny import tiny_batch, tiny_model

__all__ = ["loss_terms", "tiny_batch", "tiny_model"]
