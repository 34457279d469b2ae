"""Fixtures to write data files and the suites that declare tasks on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.api.errors import UserError
from harness.config.task_schema import TaskSpec
from harness.tasks.tabular.declared_task import declared_task


class Files:
    """Data files in a folder, and tasks declared on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def task(self, **declaration):
        """The declared task; without `kind` a classification. Plugins have registered the metric `loss`."""
        spec = TaskSpec.model_validate({"kind": "classification", **declaration})
        return declared_task("reviews", spec, lambda key, value: str(self.folder / value), metrics=["loss"])

    def load(self, **declaration):
        """The splits of the declared task."""
        return self.task(**declaration).load(None)

    def problems(self, **declaration) -> list[str]:
        """The problems of loading the declared task, with file names relative to the folder."""
        try:
            self.load(**declaration)
        except UserError as error:
            return [str(problem) for problem in error.problems]
        return []


@pytest.fixture
def files(tmp_path, monkeypatch) -> Files:
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


@pytest.fixture
def suite(files):
    """Return a function that writes a suite with these entries of `tasks`, and returns its path."""

    def write(*tasks, name="suite.yaml", **sections):
        content = {
            "name": "mine",
            "tasks": list(tasks),
            "teachers": {"base": {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}}},
            "students": {"1x32": {"layers": 1, "init": "uniform"}},
            "methods": ["finetune"],
            **sections,
        }
        return files.write(name, yaml.safe_dump(content, sort_keys=False))

    return write
