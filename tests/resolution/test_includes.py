"""Includes below a suite file, overrides above it."""

from __future__ import annotations

import pytest

from harness.api.errors import UserError
from harness.resolution import load

BASE = """\
name: base
tasks: [sst2, rte]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
students:
  small: {layers: 2, init: uniform}
methods: [finetune, logit_kd]
training: {epochs: 2, limit: {train: 100, validation: 50}}
latency: {lengths: [64]}
"""


def problems(file, *overrides):
    with pytest.raises(UserError) as caught:
        load(file, overrides=overrides)
    return [str(problem) for problem in caught.value.problems]


def test_maps_merge_deeply_and_lists_are_replaced(write):
    write(BASE, "base.yaml")
    file = write("include: base.yaml\nname: top\ntasks: [cola]\ntraining: {limit: {train: 7}}\n", "top.yaml")
    spec = load(file).suite.spec
    assert spec.name == "top"
    assert spec.tasks == ["cola"]
    assert spec.training.epochs == 2
    assert (spec.training.limit.train, spec.training.limit.validation) == (7, 50)


def test_includes_nest_and_are_relative_to_the_file_that_includes(write):
    write(BASE, "shared/deep/base.yaml")
    write("include: deep/base.yaml\nseeds: [4]\n", "shared/middle.yaml")
    spec = load(write("include: shared/middle.yaml\nname: top\n", "top.yaml")).suite.spec
    assert (spec.name, spec.seeds, spec.training.epochs) == ("top", [4], 2)


def test_a_problem_keeps_the_file_it_stands_in(write, tmp_path, monkeypatch):
    write(BASE.replace("epochs: 2", "epohcs: 2"), "base.yaml")
    file = write("include: base.yaml\n\ntasks: [sst3]\n", "top.yaml")
    monkeypatch.chdir(tmp_path)
    found = problems(file)
    assert any(line.startswith("base.yaml:8: training.epohcs") for line in found), found
    assert any(line.startswith("top.yaml:3: tasks.0") for line in found), found


def test_a_syntax_error_of_an_included_file_names_that_file(write):
    write("name: [\n", "base.yaml")
    (found,) = problems(write("include: base.yaml\n", "top.yaml"))
    assert "base.yaml:2" in found


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"top.yaml": "include: top.yaml\n"}, ["top.yaml:1", "include cycle", "top.yaml -> "]),
        (
            {"top.yaml": "name: x\ninclude: a.yaml\n", "a.yaml": "include: b.yaml\n", "b.yaml": "include: a.yaml\n"},
            ["b.yaml:1", "include cycle", "a.yaml -> "],
        ),
        ({"top.yaml": "name: x\ninclude: none.yaml\n"}, ["top.yaml:2", "file not found", "none.yaml"]),
        ({"top.yaml": "include: [a.yaml, b.yaml]\n"}, ["top.yaml:1", "expected one path", "found a list"]),
    ],
)
def test_includes_that_cannot_be(write, files, words):
    for name, text in files.items():
        write(text, name)
    file = write(files["top.yaml"], "top.yaml")
    (found,) = problems(file)
    assert [word for word in words if word not in found] == [], found


def test_set_reaches_every_key_and_makes_missing_parents(write):
    file = write(BASE)
    spec = load(
        file,
        overrides=[
            "training.limit.train=512",
            "teacher_cache.max_gb=0",
            "tasks=[cola]",
            "training.lr = 1e-3",
            "students.other={layers: 1}",
        ],
    ).suite.spec
    assert spec.training.limit.train == 512
    assert spec.training.limit.validation == 50
    assert spec.teacher_cache.max_gb == 0
    assert spec.tasks == ["cola"]
    assert spec.training.lr == 1e-3
    assert list(spec.students) == ["small", "other"]


def test_set_replaces_a_map_as_a_whole(write):
    spec = load(write(BASE), overrides=["training={lr: 0.01}"]).suite.spec
    assert (spec.training.lr, spec.training.epochs) == (0.01, 3.0)


def test_null_brings_the_default_back(write):
    spec = load(write(BASE), overrides=["latency=null", "training.epochs=null", "training.limit=null"]).suite.spec
    assert spec.latency is None
    assert spec.training.epochs == 3.0
    assert spec.training.limit.train is None


def test_the_last_of_two_settings_holds(write):
    assert load(write(BASE), overrides=["seeds=[1]", "seeds=[2]"]).suite.spec.seeds == [2]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.epohcs=3", ["--set training.epohcs", "unknown key", "'epochs'"]),
        ("training.epochs=many", ["--set training.epochs", "a number", "'many'"]),
        ("tasks=[sst3]", ["--set tasks", "'sst3'", "'sst2'"]),
        ("methods=[{logit_kd: {tau: 1}}]", ["--set methods", "methods.logit_kd.tau", "unknown key"]),
        ("methods.0=finetune", ["--set methods.0", "methods is a list", "set the whole list"]),
        ("name.x=1", ["--set name.x", "name is 'base'", "not a mapping"]),
        ("training", ["--set training", "a dotted key and a value"]),
        ("=3", ["a dotted key and a value"]),
        ("training..lr=3", ["a dotted key and a value"]),
        ("seeds=[1", ["--set seeds", "invalid YAML"]),
        ("seeds=!!python/name:os.system", ["--set seeds", "tag", "not allowed"]),
        ("include=x.yaml", ["--set include", "cannot be set on the command line"]),
        ("name=../x", ["--set name", "a name of letters"]),
        ("students.small=null", ["students", "is empty"]),
    ],
)
def test_settings_that_cannot_be_name_themselves(write, setting, words):
    (found,) = problems(write(BASE), setting)
    assert [word for word in words if word not in found] == [], found


def test_all_settings_that_cannot_be_are_told_at_once(write):
    found = problems(write(BASE), "name.x=1", "seeds=[", "tasks.0=x")
    assert len(found) == 3
