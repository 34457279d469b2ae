"""Model checks of tinybert. tests/reference compares the terms with their formulas."""

import pytest
from transformers import PreTrainedModel

from harness.api.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def test_errors_for_models_name_both_numbers():
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=r"student has 2, teacher 1 has 4"):
        loss_terms("tinybert", student=double(heads=2), teachers=[double()], batch=batch)
    with pytest.raises(UserError, match=r"3 layers, the teacher 4"):
        loss_terms("tinybert", student=double(layers=3), teachers=[double(layers=4)], batch=batch)
