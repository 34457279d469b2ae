"""Corrupted suite files raise `UserError` and no other exception."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api.errors import UserError
from harness.resolution import load, resolve

VALID = yaml.safe_load("""
name: whole
tasks: [sst2, rte]
sources: {glue: nyu-mll/glue}
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}, epochs: 1, floor: {sst2: 0.5}}
  other: {model: some/model}
students:
  small: {layers: 2, init: uniform}
  listed: {layers: 1, init: [4], hidden: 64}
methods:
- finetune
- logit_kd: {temperature: 4, students: [small], teachers: [big]}
- tinybert: {label: tb, grid: {mapping: [last, [2]]}, stages: {prediction: {steps: 2}}}
seeds: [1, 2]
training: {epochs: 1, limit: {train: 5}}
latency: {lengths: [8], backends: [eager]}
teacher_cache: {max_gb: 0}
plugins: []
device: cpu
""")


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*path, key))


word = st.sampled_from(
    ["sst2", "big", "small", "tinybert", "finetune", "uniform", "..", "/", "~", "", "a b", "é", "[x]"]
)
scalar = st.none() | st.booleans() | st.integers(-3, 5) | st.floats(allow_nan=False, allow_infinity=False) | word
junk = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(word, inner, max_size=3), max_leaves=5
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(list(paths(VALID))), value=junk)
def test_corrupted_suites_raise_nothing_but_user_errors(tmp_path, path, value):
    corrupted = copy.deepcopy(VALID)
    inner: Any = corrupted
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file = tmp_path / "suite.yaml"
    file.write_text(json.dumps(corrupted))
    with contextlib.suppress(UserError):
        resolve(load(file), online=False)


def test_fuzzed_suite_is_valid_before_corruption(tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text(json.dumps(VALID))
    assert resolve(load(file), online=False).cells
