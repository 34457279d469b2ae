"""`include:` and ``--set`` overrides."""

from __future__ import annotations

from typing import get_args, get_origin

import pytest

from harness.api.errors import UserError
from harness.config.includes import NULL_IS_A_VALUE
from harness.config.schema import SuiteSpec
from harness.config.strict_model import Strict
from harness.config.training_schema import TaskTraining, TrainingSpec
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


def test_mappings_are_merged_and_lists_are_replaced(write):
    write(BASE, "base.yaml")
    file = write("include: base.yaml\nname: top\ntasks: [cola]\ntraining: {limit: {train: 7}}\n", "top.yaml")
    spec = load(file).suite.spec
    assert spec.name == "top"
    assert spec.tasks == ["cola"]
    assert spec.training.epochs == 2
    assert (spec.training.limit.train, spec.training.limit.validation) == (7, 50)


def test_nested_includes_are_relative_to_the_including_file(write):
    write(BASE, "shared/deep/base.yaml")
    write("include: deep/base.yaml\nseeds: [4]\n", "shared/middle.yaml")
    spec = load(write("include: shared/middle.yaml\nname: top\n", "top.yaml")).suite.spec
    assert (spec.name, spec.seeds, spec.training.epochs) == ("top", [4], 2)


@pytest.mark.parametrize("name", ["reviews.yaml", "reviews", "suites/reviews.yaml"])
def test_a_shipped_suite_is_included_by_name_unless_a_file_has_it(write, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file = write(f"include: {name}\nname: top\nseeds: [4]\n", "top.yaml")
    loaded = load(file)
    shipped = load("reviews").suite
    assert (loaded.suite.spec.name, loaded.suite.spec.seeds) == ("top", [4])
    assert loaded.suite.spec.students == shipped.spec.students
    assert [task.name for task in loaded.suite.tasks] == [task.name for task in shipped.tasks]
    write(BASE, name)
    assert list(load(file).suite.spec.students) == ["small"]


def test_problems_name_the_included_file(write, tmp_path, monkeypatch):
    write(BASE.replace("epochs: 2", "epohcs: 2"), "base.yaml")
    file = write("include: base.yaml\n\ntasks: [sst3]\n", "top.yaml")
    monkeypatch.chdir(tmp_path)
    reported = problems(file)
    assert any(line.startswith("base.yaml:8: training.epohcs") for line in reported), reported
    assert any(line.startswith("top.yaml:3: tasks.0") for line in reported), reported


def test_syntax_errors_name_the_included_file(write):
    write("name: [\n", "base.yaml")
    (message,) = problems(write("include: base.yaml\n", "top.yaml"))
    assert "base.yaml:2" in message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"top.yaml": "include: top.yaml\n"}, ["top.yaml:1", "include cycle", "top.yaml -> "]),
        (
            {"top.yaml": "name: x\ninclude: a.yaml\n", "a.yaml": "include: b.yaml\n", "b.yaml": "include: a.yaml\n"},
            ["b.yaml:1", "include cycle", "a.yaml -> "],
        ),
        (
            {"top.yaml": "name: x\ninclude: none.yaml\n"},
            ["top.yaml:2", "file not found", "none.yaml", "no shipped suite of this name"],
        ),
        ({"top.yaml": "include: [a.yaml, b.yaml]\n"}, ["top.yaml:1", "expected one path", "found a list"]),
    ],
)
def test_invalid_includes(write, files, words):
    for name, text in files.items():
        write(text, name)
    file = write(files["top.yaml"], "top.yaml")
    (message,) = problems(file)
    assert [word for word in words if word not in message] == [], message


def test_set_creates_missing_parents(write):
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


def test_set_replaces_mappings(write):
    spec = load(write(BASE), overrides=["training={lr: 0.01}"]).suite.spec
    assert (spec.training.lr, spec.training.epochs) == (0.01, 3.0)


def test_null_restores_the_default(write):
    spec = load(write(BASE), overrides=["latency=null", "training.epochs=null", "training.limit=null"]).suite.spec
    assert spec.latency is None
    assert spec.training.epochs == 3.0
    assert spec.training.limit.train is None


def test_null_is_kept_where_it_is_a_value(write):
    nulls = ["training.max_grad_norm=null", "training.checkpoint_every=null", "training.per_task.rte.batch_size=8"]
    nulls += [f"training.per_task.rte.{name}=null" for name in ("max_grad_norm", "micro_batch_size", "max_length")]
    spec = load(write(BASE), overrides=[*nulls, "tuning={trials: 4}", "tuning.lr=null"]).suite.spec
    assert (spec.training.max_grad_norm, spec.training.checkpoint_every, spec.tuning.lr) == (None, None, None)
    assert spec.training.per_task["rte"].overrides == {
        "batch_size": 8,
        "token_budget": None,
        "max_grad_norm": None,
        "micro_batch_size": None,
    }


def test_every_setting_whose_null_is_no_default_is_listed():
    on_task = TaskTraining.model_fields.keys() & {name for name, _ in nullable(TrainingSpec)}
    expected = {("training", "per_task", "*", name) for name in on_task} | {
        (*path, name) for path, model in models(SuiteSpec) for name, default in nullable(model) if default is not None
    }
    assert set(NULL_IS_A_VALUE) == expected


def nullable(model):
    for name, field in model.model_fields.items():
        if type(None) in get_args(field.annotation):
            yield name, field.default


def models(model, path=()):
    """The path and class of every mapping of settings that dotted keys reach; of a mapping by name, `*`."""
    yield path, model
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Strict):
                by_name = get_origin(field.annotation) is dict
                yield from models(kind, (*path, name, "*") if by_name else (*path, name))


def test_last_setting_wins(write):
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
def test_invalid_settings_are_named(write, setting, words):
    (message,) = problems(write(BASE), setting)
    assert [word for word in words if word not in message] == [], message


def test_all_invalid_settings_are_reported_at_once(write):
    reported = problems(write(BASE), "name.x=1", "seeds=[", "tasks.0=x")
    assert len(reported) == 3
