"""Fixtures to write suite files and collect their problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.resolution import load, resolve

GOOD = """\
name: good
tasks: [sst2, rte]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
students:
  small: {layers: 2, init: uniform}
methods: [finetune, logit_kd]
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file in the test's temporary folder."""

    def write(text: str = GOOD, name: str = "suite.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.fixture
def suite_problems(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that lists the problems of a suite text, with file names relative to its folder."""

    def suite_problems(text: str = GOOD, *overrides: str) -> list[str]:
        file = write(text)
        monkeypatch.chdir(file.parent)
        try:
            resolve(load("suite.yaml", overrides=overrides), online=False)
        except UserError as error:
            return [str(problem) for problem in error.problems]
        return []

    return suite_problems
