"""Class weights change the loss, so they are part of the keys of tasks from suites and from plugins."""

from dataclasses import replace

import pytest

from harness.api.task import Splits, Task
from harness.planning import keys
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.storage.plan_file import DataReport
from harness.training import MULTILABEL_WEIGHTS_VERSION

TASK = Task("t", "classification", lambda source: None, ("accuracy",), "accuracy", labels=("a", "b"))


REPORT = DataReport(examples={}, overlap={})


def parts(**fields):
    data = TaskData(replace(TASK, **fields), lambda: Splits(None, {}), "train", "validation", 0, REPORT)
    return keys.data(data, TokenizerRef("tokenizer", lambda: None, 0, has_mask=False), 8)


@pytest.mark.parametrize("weights", ["balanced", (1.0, 2.0)])
def test_the_weights_of_a_task_of_a_plugin_are_in_its_keys(weights):
    plain = parts()
    assert "class_weights" not in plain
    written = "balanced" if weights == "balanced" else [1.0, 2.0]
    assert parts(class_weights=weights) == plain | {"class_weights": written}


def test_the_weights_of_a_declared_task_are_in_its_declaration():
    declaration = {"class_weights": {"b": 2.0}}
    assert parts(class_weights=(1.0, 2.0), key_parts=declaration) == parts() | {"declaration": declaration}


def test_the_version_of_the_weights_of_multilabel_tasks_is_in_their_keys_alone():
    for declaration in ({}, {"class_weights": "balanced"}):
        weighted = parts(kind="multilabel", class_weights="balanced", key_parts=declaration)
        assert weighted["class_weights_version"] == MULTILABEL_WEIGHTS_VERSION
    for fields in ({"class_weights": "balanced"}, {"kind": "multilabel"}):
        assert "class_weights_version" not in parts(**fields)
