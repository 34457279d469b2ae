"""Suites from files, names and mappings."""

from pathlib import Path

import pytest
import yaml

import harness
from harness.storage.store import Store


def content(small):
    suite = yaml.safe_load(small.path.read_text())
    return {**suite, "plugins": [str(small.folder / name) for name in suite["plugins"]]}


def test_a_mapping_is_the_same_suite_as_its_file(small):
    from_file, from_mapping = harness.plan(small.path), harness.plan(content(small))
    assert [job.planned for job in from_mapping.runs] == [job.planned for job in from_file.runs]


def test_overrides_are_values_or_settings_of_the_command_line(small):
    by_value = harness.load_suite(small.path, overrides={"training.epochs": 0.5, "seeds": [4], "latency": None})
    by_setting = harness.load_suite(small.path, overrides=["training.epochs=0.5", "seeds=[4]", "latency=null"])
    assert by_value.suite.spec == by_setting.suite.spec
    assert by_value.suite.spec.training.epochs == 0.5


def test_a_loaded_suite_is_used_as_it_is(small):
    loaded = harness.load_suite(small.path)
    assert harness.load_suite(loaded) is loaded
    with pytest.raises(TypeError, match="pass them to load_suite"):
        harness.load_suite(loaded, overrides={"seeds": [1]})


def test_problems_of_a_mapping_name_its_keys(small):
    broken = {**content(small), "epoch": 3, "seeds": []}
    with pytest.raises(harness.UserError) as caught:
        harness.load_suite(broken)
    assert {problem.where for problem in caught.value.problems} == {"suite"}
    assert "epoch" in str(caught.value)
    assert "seeds" in str(caught.value)
    with pytest.raises(harness.UserError, match="cannot include a file"):
        harness.load_suite({"include": "base.yaml"})


def test_paths_of_a_mapping_are_relative_to_the_working_directory(small, monkeypatch):
    monkeypatch.chdir(small.folder)
    suite = yaml.safe_load(small.path.read_text())
    assert harness.load_suite(suite).suite.tasks[0].name == "order"


def test_planning_trains_nothing(small, tmp_path):
    assert len(harness.plan(small.path).runs) > 0
    assert not Store(Path(tmp_path / "results/small")).folder.exists()
