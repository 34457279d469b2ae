"""Mistakes in the `load` of a plugin's task are errors that name the task and the line."""

import pytest

import harness

PLUGIN = """
from datasets import Dataset
from harness import UserError, hookimpl
from harness.api.task import Splits, Task

ROWS = Dataset.from_dict({"id": ["a", "b"], "text": ["x", "y"], "label": [0, 1]})

def fails():
    raise ValueError("no rows")

def refuses():
    raise UserError("download it first")

def load(source):
    return LOAD

@hookimpl
def harness_register_tasks(register):
    register(Task("mine", "classification", load, ("accuracy",), "accuracy", labels=("no", "yes")))
"""
SUITE = {
    "name": "own",
    "plugins": ["mine.py"],
    "tasks": ["mine"],
    "teachers": {"base": {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}}},
    "students": {"small": {"layers": 1, "init": "uniform"}},
    "methods": ["finetune"],
}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fails()", "{plugin}:9: task 'mine': load() failed: ValueError: no rows"),
        ("refuses()", "download it first"),
        ("{'train': ROWS}", "{plugin}:14: task 'mine': load() returned a dict; expected harness.api.task.Splits"),
        (
            "Splits(ROWS, ROWS)",
            "{plugin}:14: task 'mine': load() returned a Dataset as validation; expected a dict of data sets"
            " by the name of their split",
        ),
        (
            "Splits(ROWS, {'validation': [1]})",
            "{plugin}:14: task 'mine': load() returned a list as split 'validation'; expected a datasets.Dataset",
        ),
    ],
)
def test_a_mistake_of_load_is_an_error_with_its_line(tmp_path, monkeypatch, value, message):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.replace("LOAD", value), encoding="utf-8")
    with pytest.raises(harness.UserError) as caught:
        harness.plan(SUITE)
    assert str(caught.value) == message.format(plugin=plugin)
