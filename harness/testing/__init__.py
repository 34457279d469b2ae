"""The test kit for plugin authors: tiny models and batches, `loss_terms`, and conformance checks (`check_method`)."""

from harness.testing.conformance import check_method
from harness.testing.step_sequence import StepTerms, loss_terms
from harness.testing.tiny_models import tiny_batch, tiny_model

__all__ = ["StepTerms", "check_method", "loss_terms", "tiny_batch", "tiny_model"]
