"""Options of `harness distill` as typed."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from harness.api.errors import UserError
from harness.cli import distill_command
from harness.cli.app import app
from harness.cli.distill_command import DistillOptions, distill_model
from harness.distill import distillation


@pytest.mark.parametrize("typed", [";;", "", "\n"])
def test_a_delimiter_is_one_character(typed):
    with pytest.raises(UserError, match=r"--delimiter: .* is not a character"):
        distill_model(DistillOptions("teacher", "reviews.csv", delimiter=typed))


@pytest.mark.parametrize(("failing", "code"), [((), 0), (("second",), 1)])
def test_the_first_rung_warns_of_the_data_of_all(monkeypatch, failing, code):
    executed = []

    def execute(suite, results, *, warn):
        executed.append((suite, warn))
        return SimpleNamespace(successful=suite not in failing)

    def distill(request, execute, say):
        for rung in ("first", "second", "third"):
            execute(rung)

    monkeypatch.setattr(distill_command, "run_with_progress", execute)
    monkeypatch.setattr(distillation, "distill", distill)
    monkeypatch.setattr(distillation, "summary_lines", lambda distilled: [])
    assert distill_model(DistillOptions("teacher", "reviews.csv")) == code
    assert executed == [("first", True), ("second", False), ("third", False)]


def test_every_option_is_the_one_that_was_typed(monkeypatch):
    typed = {
        "teacher": "t",
        "data": "d.csv",
        "to": "folder",
        "name": "n",
        "encoding": "latin-1",
        "delimiter": ";",
        "text": "a",
        "text-pair": "b",
        "label": "c",
        "class": "5=yes",
        "separator": ",",
        "validation": "0.3",
        "max-length": "256",
        "method": "m",
        "max-latency": "5ms",
        "max-params": "20M",
        "budget": "2h",
        "plugin": "p.py",
    }
    received = []
    monkeypatch.setattr(distill_command, "distill_model", lambda options: received.append(options) or 0)
    arguments = [*(f"--{name}={value}" for name, value in typed.items()), "--no-quoting", "--trust-remote-code"]
    result = CliRunner().invoke(app, ["distill", *arguments])
    assert result.exit_code == 0, result.output
    renamed = {"class": "classes", "method": "methods", "plugin": "plugins"}
    expected = {renamed.get(name, name.replace("-", "_")): value for name, value in typed.items()}
    listed = {name: [expected[name]] for name in renamed.values()}
    values = (
        expected | listed | {"to": Path("folder"), "max_length": 256, "no_quoting": True, "trust_remote_code": True}
    )
    assert {field.name: getattr(received[0], field.name) for field in fields(DistillOptions)} == values
