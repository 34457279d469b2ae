"""Every installed method passes every conformance check; results, output and errors of `check_method`."""

import pytest

from harness.api.errors import UserError
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.testing import check_method, conformance
from harness.testing.conformance import ALL_CHECKS, Check, Conformance, Result, resolve_methods

METHODS = Host.create().methods
TASKS = {"classification", "regression", "qa"}
ALL_TASKS = TASKS | {"multilabel", "token_classification"}

OPTIONS = [
    ("distilbert", {"alpha": 0.5}),
    ("logit_kd", {"temperature": 0.5}),
    ("minilm", {"version": 2}),
    ("mlkd_bert", {"one_stage": True, "temperature": 0.5}),
    ("mlkd_bert", {"views": "dropout"}),
    ("mt_bert", {"hidden_loss": False, "weighting": False}),
    ("tinybert", {"attention_loss": "kl", "mapping": "mean", "temperature": 0.5}),
    ("tinybert", {"attention_loss": "cosine", "mapping": "last"}),
    ("dynamic_kd", {"part": "data"}),
    ("dynamic_kd", {"part": "objective", "form": "kl"}),
]
"""Options that change the computation."""

LABELS_ONLY = ["finetune", "distilbert"]
"""Methods that read no teacher on a task with their default options."""


@pytest.mark.parametrize(("method", "config"), [*((name, {}) for name in METHODS), *OPTIONS], ids=str)
def test_a_method_passes_every_check(method, config, capsys):
    tasks = TASKS if config else ALL_TASKS  # options change what is compared, not how logits and labels are
    conformance = check_method(method, config=config, kinds=(*sorted(tasks), "text"))
    assert conformance.ok, str(conformance)
    checked = {result.task for result in conformance.results if result.check != ALL_CHECKS}
    assert checked == tasks | ({"text"} if has_text_stage(METHODS[method]) else set())
    not_applicable = {(result.check, result.task) for result in conformance.results if result.status == "n/a"}
    without_teacher = tasks if method in LABELS_ONLY and not config else set()
    assert not_applicable - {(ALL_CHECKS, "text")} == {("zero at identity", task) for task in without_teacher}
    assert capsys.readouterr().out.count("passed") > 40


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


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("tinybrt", "there is no method, file or entry point 'tinybrt'; did you mean 'tinybert'?"),
        ("metrics", "plugin 'metrics' registers no method"),
        ("three.py", "plugin not found"),
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
    assert lines[2].split()[:4] == ["finetune", "first", "qa", "failed"]
    assert lines[-1] == "1 passed, 1 failed, 1 n/a"
