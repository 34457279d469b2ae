"""Options with which a benchmark takes seconds."""

import weakref

import pandas as pd
import pytest

from benchmarks.alone import Parts
from benchmarks.options import Options
from tests.support.hub_layout import write_dataset

TINY = {"teacher": "4x24", "students": ["2x12"], "runs": 2, "batch": 3, "length": 12, "steps": 3, "repetitions": 1}
REST = {"threads": 1, "seed": 1, "device": "cpu", "precision": "fp32", "data": "nyu-mll/glue", "tokenizer": None}


@pytest.fixture
def options():
    return lambda **changed: Options.model_validate({**TINY, **REST, **changed})


@pytest.fixture
def parts_in_memory(monkeypatch):
    """Numbers of `Parts` of a benchmark that exist when the use of the device is measured, and of those that did."""
    made, alive = [], []

    class Watched(Parts):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    def of(*_):
        alive.append(sum(part() is not None for part in made))
        return {}

    monkeypatch.setattr("benchmarks.device_usage.of", of)
    for module in ("floor", "brewer"):
        monkeypatch.setattr(f"benchmarks.{module}.Parts", Watched)
    return alive, made


@pytest.fixture
def glue(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    texts = [" ".join(["good", "bad", "film"][i % 3 :] * (1 + i % 3)) for i in range(20)]
    rows = pd.DataFrame({"sentence": texts, "label": [i % 2 for i in range(20)], "idx": range(20)})
    return str(write_dataset(tmp_path / "glue", {"sst2": {"train": rows, "validation": rows}}))
