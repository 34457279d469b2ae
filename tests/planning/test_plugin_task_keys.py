"""Keys hold what a plugin can change in a task while its examples stay the same."""

from dataclasses import replace

import pytest

from harness.api.task import Splits, Task
from harness.planning import keys
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.storage.plan_file import DataReport

TASK = Task("t", "classification", lambda source: None, ("accuracy",), "accuracy", labels=("a", "b"))


def parts_of(task, *, is_of_plugin=True):
    """The parts of the task in the keys of runs and trained teachers, and in those of fine-tuned teachers."""
    report = DataReport(examples={}, overlap={})
    data = TaskData(task, lambda: Splits(None, {}), "train", "validation", 0, report, is_of_plugin=is_of_plugin)
    reader = TokenizerRef("tokenizer", lambda: None, 0, has_mask=False)
    return keys.data(data, reader, 8), keys.finetuned_teacher("checkpoint", [0, 1], data, reader, 8, "cpu")["data"]


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"labels": ("a", "b", "c")}, {"classes": 3}),
        ({"metrics": ("f1",), "score": "f1"}, {"metrics": ["f1"], "score": "f1"}),
        ({"metrics": ("accuracy", "f1")}, {"metrics": ["accuracy", "f1"]}),
        ({"paired": True}, {"paired": True}),
        (
            {"kind": "regression", "labels": (), "label_range": (0.0, 5.0)},
            {"kind": "regression", "classes": 1, "label_range": [0.0, 5.0]},
        ),
        (
            {"kind": "regression", "labels": (), "standardize": True},
            {"kind": "regression", "classes": 1, "standardize": True},
        ),
    ],
)
def test_the_definition_of_a_task_of_a_plugin_is_in_its_keys(change, written):
    for plain, changed in zip(parts_of(TASK), parts_of(replace(TASK, **change)), strict=True):
        assert "definition" not in plain
        assert changed == plain | {"definition": written}


def test_shipped_and_declared_tasks_keep_their_keys():
    three = replace(TASK, labels=("a", "b", "c"))
    assert parts_of(three, is_of_plugin=False) == parts_of(TASK, is_of_plugin=False)
    declaration = {"labels": ["a", "b", "c"], "metrics": ["accuracy"], "score": "accuracy"}
    assert "definition" not in parts_of(replace(three, key_parts=declaration))[0]


def test_an_edited_task_has_other_keys_in_a_suite(small):
    def plan_keys():
        plan = small.plan("methods=[finetune]", "seeds=[1]")
        return {plan.teachers[0].key, plan.runs[0].planned.key}

    before, plugin = plan_keys(), small.folder / "order.py"
    plugin.write_text(plugin.read_text().replace('("dark", "bright")', '("dark", "bright", "unclear")'))
    assert not before & plan_keys()
