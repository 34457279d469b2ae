"""Sizes at which a benchmark takes seconds."""

import pytest

from benchmarks.options import Options

TINY = {"teacher": "4x24", "students": ["2x12"], "runs": 2, "batch": 3, "length": 12, "steps": 3, "repetitions": 1}
REST = {"threads": 1, "seed": 1, "device": "cpu", "precision": "fp32", "data": "nyu-mll/glue", "tokenizer": None}


@pytest.fixture
def options():
    return lambda **changed: Options.model_validate({**TINY, **REST, **changed})
