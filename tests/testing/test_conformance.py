"""Every installed method passes every conformance check; results, output and errors of `check_method`."""

import os
from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.cli.check_command import check_plugin
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.testing import check_method, conformance
from harness.testing.conformance import ALL_CHECKS, Check, Conformance, Result, origins, resolve_methods

METHODS = Host.create().methods

OPTIONS = [
    ("glmd", {"masking": 0.2, "positions": "masked", "top_n": 8}),
    ("matches", {"matches": [{"student": "scores[1]", "teacher": "scores[1]", "loss": "kl"}], "separate": True}),
    (
        "matches",
        {
            "matches": [
                {"student": "hidden[1]", "teacher": "hidden[1]", "loss": "nst"},
                {"student": "hidden[1]", "teacher": "hidden[1]", "loss": "pkt", "tokens": "mean"},
            ]
        },
    ),
    ("mlkd_bert", {"one_stage": True, "temperature": 0.5}),
    ("mlkd_bert", {"views": "dropout"}),
    ("dynamic_kd", {"part": "data"}),
    ("dynamic_kd", {"part": "objective", "form": "kl"}),
]
"""Options that change the computation."""

NIGHTLY = "HARNESS_NIGHTLY" in os.environ
"""Whether each method is checked on every kind, and with more options."""

if NIGHTLY:  # the formulas of these are in tests/reference
    OPTIONS += [
        ("distilbert", {"alpha": 0.5}),
        ("logit_kd", {"temperature": 0.5}),
        ("minilm", {"version": 2}),
        ("mt_bert", {"hidden_loss": False, "weighting": False}),
        ("tinybert", {"attention_loss": "kl", "mapping": "mean", "temperature": 0.5}),
        ("tinybert", {"attention_loss": "cosine", "mapping": "last"}),
    ]

REFUSED = {
    **{name: {"token_classification", "qa"} for name in ("ad_kd", "rl_kd", "temporal_ensembling")},
    "dkd": {"regression"},
}
"""Kinds of tasks that a method refuses."""

ALWAYS_APPLICABLE = {
    "stages", "needs", "terms", "gradients", "teacher frozen", "padding", "half precision", "training", "resume",
    "alone = cohort", "export",
}  # fmt: skip

OTHER_KINDS = ("regression", "multilabel", "qa", "token_classification")


def kinds_of(method, config):
    """The kinds of task that a method is checked on: classification, and of every fourth method another one.

    All methods have the same losses on logits, and `tests/training/test_methods.py` trains them on other kinds.
    """
    if NIGHTLY:
        return {"classification", *OTHER_KINDS} - REFUSED.get(method, set())
    turn, rest = divmod(sorted(METHODS).index(method), 4)
    other = () if config or rest else (OTHER_KINDS[turn % 4],)
    return {"classification", *other} - REFUSED.get(method, set())


@pytest.mark.parametrize(("method", "config"), [*((name, {}) for name in METHODS), *OPTIONS], ids=str)
def test_a_method_passes_every_check(method, config, capsys):
    tasks = kinds_of(method, config)
    conformance = check_method(method, config=config, kinds=(*sorted(tasks), "text"))
    assert conformance.ok, str(conformance)
    checked = {result.task for result in conformance.results if result.check != ALL_CHECKS}
    assert checked == tasks | ({"text"} if has_text_stage(METHODS[method]) else set())
    not_applicable = {result.check for result in conformance.results if result.status == "n/a"}
    assert not not_applicable & ALWAYS_APPLICABLE
    assert capsys.readouterr().out.count("passed") > 10


PLUGIN = """
from harness import Method, Needs, Stage, hookimpl

class {name}(Method):
    name = "{name}"
    def stages(self):
        return [Stage("only", Needs())]
    def losses(self, step, batch, student, teachers):
        return {{}}

@hookimpl
def harness_register_methods(register):
    register({name})
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two plugins of one method each."""
    for name in ("One", "Two"):
        (tmp_path / f"{name.lower()}.py").write_text(PLUGIN.format(name=name))
    (tmp_path / "notes").write_text("no plugin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_methods_are_found_by_name_by_path_and_by_entry_point(folder):
    def names(plugin):
        return [method.name for method in resolve_methods(plugin)]

    assert names("tinybert") == ["tinybert"]
    assert names(METHODS["pkd"]) == ["pkd"]
    assert names("one.py") == names(folder / "one.py") == ["One"]
    assert names(str(folder)) == ["One", "Two"]


def test_a_path_is_checked_even_if_a_method_of_the_same_name_is_installed(folder):
    (folder / "mine.py").write_text(PLUGIN.format(name="tinybert"))
    (method,) = resolve_methods("mine.py")
    assert method is not METHODS["tinybert"]


def test_a_folder_is_checked_before_an_installed_method_of_its_name(folder):
    package = folder / "dist"
    package.mkdir()
    assert resolve_methods("dist") == [METHODS["dist"]], "a folder without a plugin, such as that of a build"
    (package / "__init__.py").write_text(PLUGIN.format(name="dist"))
    for plugin in ("dist", "./dist", Path("dist"), str(package)):
        (method,) = resolve_methods(plugin)
        assert origins([method]) == "dist: dist/__init__.py"


def test_the_file_of_a_method_is_printed_above_the_table(folder, capsys):
    check_method("one.py", kinds=[])
    assert capsys.readouterr().out.startswith("One: one.py\n\n")
    assert check_plugin("two.py", as_json=False) == 1
    assert capsys.readouterr().out.startswith("Two: two.py\n\n")


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("tinybrt", "there is no method, file or entry point 'tinybrt'; did you mean 'tinybert'?"),
        ("metrics", "plugin 'metrics' registers no method"),
        ("three.py", "plugin not found"),
        ("notes", "expected a .py file or a folder"),
        ("some/where", "plugin not found"),
    ],
)
def test_an_unknown_plugin_is_an_error(folder, plugin, words):
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        resolve_methods(plugin)


def test_a_class_that_is_not_a_method_is_an_error():
    with pytest.raises(UserError, match=r"must be a subclass of harness\.Method"):
        check_method(dict)


def test_a_method_without_applicable_checks_does_not_pass():
    assert not Conformance((Result("some", ALL_CHECKS, "qa", "n/a", "it refuses it"),)).ok
    assert str(Conformance(())) == "nothing could be checked"


def test_a_check_does_not_run_if_a_required_check_failed(monkeypatch, capsys):
    def fails(subject):
        raise ZeroDivisionError("a mistake")

    checks = [Check("first", fails), Check("second", fails, ("first",)), Check("third", lambda subject: "and so on")]
    monkeypatch.setattr(conformance, "checks", lambda: checks)
    outcome = check_method("finetune", kinds=["qa"])
    assert [(result.check, result.status, result.detail) for result in outcome.results] == [
        ("first", "failed", "ZeroDivisionError: a mistake"),
        ("second", "n/a", "'first' has not passed"),
        ("third", "passed", "and so on"),
    ]
    assert not outcome.ok
    assert str(outcome) == "finetune, first, qa: ZeroDivisionError: a mistake"
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split()[:4] == ["finetune", "first", "qa", "failed"]
    assert lines[-1] == "1 passed, 1 failed, 1 n/a"


BROKEN = """
from harness import Method, Stage, Needs, hookimpl

def helper(values):
    return values["missing"]

class Broken(Method):
    name = "broken"
    def stages(self):
        return [Stage("only", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers):
        {losses}

@hookimpl
def harness_register_methods(register):
    register(Broken)
"""


@pytest.mark.parametrize(
    ("losses", "ending"),
    [
        ("return helper({})", "KeyError: 'missing' (broken.py:5)"),
        ("return {'term': student.logits.view(-1, 7919).mean()}", "(broken.py:12)"),
        ("return {}", "losses() returned no terms"),
    ],
)
def test_an_exception_is_reported_with_the_last_line_of_the_plugin(tmp_path, losses, ending):
    (tmp_path / "broken.py").write_text(BROKEN.replace("{losses}", losses))
    details = [result.detail for result in check_method(tmp_path / "broken.py", kinds=["qa"]).failed]
    assert any(detail.endswith(ending) for detail in details), details
