"""The test kit for plugin authors: `load_plugin`, tiny models and batches, `loss_terms`, and conformance checks
(`check_method`)."""

from harness.testing.conformance import check_method
from harness.testing.plugin_loading import load_plugin
from harness.testing.step_sequence import StepTerms, loss_terms
from harness.testing.tiny_models import tiny_batch, tiny_model

__all__ = ["StepTerms", "check_method", "load_plugin", "loss_terms", "tiny_batch", "tiny_model"]
