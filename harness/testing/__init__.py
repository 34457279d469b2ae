"""The test kit for plugin authors: tiny models and batches, a method's loss terms on them, and `check_method`, which
holds a method to all that the host relies on."""

from harness.testing.conformance import check_method
from harness.testing.term_evaluation import loss_terms
from harness.testing.tiny_models import tiny_batch, tiny_model

__all__ = ["check_method", "loss_terms", "tiny_batch", "tiny_model"]
