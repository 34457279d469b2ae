"""Every method that is installed passes every check; what `check_method` gives, prints, finds and refuses."""

import pytest

from harness.api.errors import UserError
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.testing import check_method, conformance
from harness.testing.conformance import EVERY, Check, Conformance, Result, methods_of

METHODS = Host.create().methods
TASKS = {"classification", "regression", "qa"}

OPTIONS = [
    ("distilbert", {"alpha": 0.5}),
    ("logit_kd", {"temperature": 0.5}),
    ("minilm", {"version": 2}),
    ("mlkd_bert", {"one_stage": True, "temperature": 0.5}),
    ("mlkd_bert", {"views": "dropout"}),
    ("mt_bert", {"hidden_loss": False, "weighting": False}),
    ("tinybert", {"attention_loss": "kl", "mapping": "mean", "temperature": 0.5}),
    ("tinybert", {"attention_loss": "cosine", "mapping": "last"}),
]
"""Variants that compute something else than the defaults."""

ON_LABELS_ALONE = ["finetune", "distilbert"]
"""Methods that read no teacher on a task, as they come."""


@pytest.mark.parametrize(("method", "config"), [*((name, {}) for name in METHODS), *OPTIONS], ids=str)
def test_a_method_passes_every_check(method, config, capsys):
    found = check_method(method, config=config)
    assert found.ok, str(found)
    checked = {result.task for result in found.results if result.check != EVERY}
    assert checked == TASKS | ({"text"} if has_text_stage(METHODS[method]) else set())
    silent = {(result.check, result.task) for result in found.results if result.status == "n/a"}
    alone = TASKS if method in ON_LABELS_ALONE and not config else set()
    assert silent - {(EVERY, "text")} == {("zero at identity", task) for task in alone}
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
    """Two plugins with a method each, and one that has none."""
    for name in ("One", "Two"):
        (tmp_path / f"{name.lower()}.py").write_text(PLUGIN.format(name=name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_methods_are_found_by_name_by_path_and_by_entry_point(folder):
    def names(plugin):
        return [method.name for method in methods_of(plugin)]

    assert names("tinybert") == ["tinybert"]
    assert names(METHODS["pkd"]) == ["pkd"]
    assert names("one.py") == names(folder / "one.py") == ["One"]
    assert names(str(folder)) == ["One", "Two"]


def test_a_plugin_that_is_installed_too_can_be_checked_where_it_lies(folder):
    (folder / "mine.py").write_text(PLUGIN.format(name="tinybert"))
    (found,) = methods_of("mine.py")
    assert found is not METHODS["tinybert"]


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("tinybrt", "there is no method, file or entry point 'tinybrt'; did you mean 'tinybert'?"),
        ("metrics", "plugin 'metrics' registers no method"),
        ("three.py", "plugin not found"),
        ("some/where", "plugin not found"),
    ],
)
def test_what_is_no_plugin_is_told(folder, plugin, words):
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        methods_of(plugin)


def test_a_class_that_could_not_be_registered_is_refused():
    with pytest.raises(UserError, match=r"must be a subclass of harness\.Method"):
        check_method(dict)


def test_what_no_check_can_be_made_on_does_not_pass():
    assert not Conformance((Result("some", EVERY, "qa", "n/a", "it refuses it"),)).ok
    assert str(Conformance(())) == "nothing could be checked"


def test_a_check_is_not_made_after_one_that_it_rests_on(monkeypatch, capsys):
    def fails(subject):
        raise ZeroDivisionError("a mistake")

    made = [Check("first", fails), Check("second", fails, ("first",)), Check("third", lambda subject: "and so on")]
    monkeypatch.setattr(conformance, "checks", lambda: made)
    found = check_method("finetune", kinds=["qa"])
    assert [(each.check, each.status, each.detail) for each in found.results] == [
        ("first", "failed", "ZeroDivisionError: a mistake"),
        ("second", "n/a", "'first' has not passed"),
        ("third", "passed", "and so on"),
    ]
    assert not found.ok
    assert str(found) == "finetune, first, qa: ZeroDivisionError: a mistake"
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].split()[:4] == ["finetune", "first", "qa", "failed"]
    assert shown[-1] == "1 passed, 1 failed, 1 n/a"
