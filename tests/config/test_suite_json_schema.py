"""The JSON Schema for editors accepts what the harness accepts, and finds what an editor should mark."""

import json
from pathlib import Path

import jsonschema
import pytest

from harness.config.shipped_suites import shipped_suites
from harness.config.suite_json_schema import suite_schema
from harness.config.yaml_tree import Mark, parse
from harness.plugin_host.host import Host

SUITES = Path(__file__).parents[2] / "suites"
HOST = Host.create()
METHODS = {name: method.Config for name, method in HOST.methods.items()}
SCHEMA = suite_schema(METHODS, HOST.tasks)
CHECKER = jsonschema.Draft202012Validator(SCHEMA)

MINIMAL = """
name: mine
tasks: [sst2]
teachers: {base: {model: bert-base-uncased}}
students: {small: {layers: 2}}
methods: [finetune]
"""


def read(text):
    """The mapping of a suite's text. PyYAML alone would read the key `on` as true."""
    return parse(text, Mark("suite.yaml", 1, SUITES)).plain()


def problems(suite):
    return [error.json_path for error in CHECKER.iter_errors(suite)]


def test_the_schema_beside_the_shipped_suites_is_current():
    stored = json.loads((SUITES / "suite.schema.json").read_text())
    assert stored == json.loads(json.dumps(SCHEMA)), "run: harness schema suite > suites/suite.schema.json"


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_shipped_suites_are_valid_and_name_the_schema(name):
    text = shipped_suites()[name].read_text()
    assert problems(read(text)) == []
    assert "# yaml-language-server: $schema=suite.schema.json\n" in text


@pytest.mark.parametrize(
    "change",
    [
        "methods: [pkd: {alpha: 0.2, label: mine, grid: {beta: [10, 100]}, per_task: {sst2: {alpha: 0.7}}}]",
        "methods: [{tinybert: null}, {of_a_plugin: {anything: 1}}]",
        "tasks: [sst2, of_a_plugin]",
        "selection: train",
        "selection: {on: train, share: 0.05}",
        "latency: null",
        "training: {per_task: {sst2: {max_grad_norm: null}}}",
        "tasks: [{reviews: {kind: classification, train: reviews.csv, validation: 0.1}}]",
        "teachers: {base: {model: mine, finetune: false, labels: [negative, positive]}}",
        "seeds: [1, 2]",
    ],
)
def test_valid_keys(change):
    assert problems(read(MINIMAL) | read(change)) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ("trainings: {}", "$"),
        ("training: {epoch: 3}", "$.training"),
        ("training: {precision: fp8}", "$.training.precision"),
        ("training: {per_task: {sst2: {lr: null}}}", "$.training.per_task.sst2.lr"),
        ("methods: [pkd: {stages: {pkd: {epochs: null}}}]", "$.methods[0]"),
        ("seeds: []", "$.seeds"),
        ("seeds: [one]", "$.seeds[0]"),
        ("methods: [pkd: {alhpa: 0.2}]", "$.methods[0]"),
        ("methods: [pkd: {alpha: 2}]", "$.methods[0]"),
        ("methods: [pkd: {per_task: {sst2: {alhpa: 1}}}]", "$.methods[0]"),
        ("students: {small: {layers: two}}", "$.students.small.layers"),
        ("tasks: [{reviews: {train: reviews.csv}}]", "$.tasks[0]"),
    ],
)
def test_wrong_keys_are_found_at_their_place(change, path):
    assert path in problems(read(MINIMAL) | read(change))


def test_a_key_is_missing_unless_the_file_includes_another():
    assert problems(read("name: mine")) == ["$"]
    assert problems(read("include: glue.yaml\nseeds: [1]")) == []


def test_editors_complete_the_names_of_tasks():
    enumerated, *_ = SCHEMA["properties"]["tasks"]["items"]["anyOf"]
    assert enumerated == {"enum": sorted(HOST.tasks)}
    assert "sst2" in HOST.tasks


def test_every_key_is_described():
    definitions = [SCHEMA, *SCHEMA["$defs"].values()]
    assert [key for d in definitions for key, field in d["properties"].items() if not field.get("description")] == []


def test_every_option_is_described():
    for name in METHODS:
        definition = SCHEMA["$defs"][f"method {name}"]["properties"]
        for option in METHODS[name].model_fields:
            assert definition[option]["description"]
