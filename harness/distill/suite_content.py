"""Writes the suites of `harness distill`."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config.yaml_tree import read_file
from harness.distill.data_columns import DataColumns
from harness.distill.halving import Candidate
from harness.distill.request import Request
from harness.tasks.tabular.option_names import FILE_OPTIONS

TEACHER = "teacher"
"""Name of the teacher in the suites."""

_OPTIONS: Mapping[str, str] = {
    **FILE_OPTIONS,
    "train": "--data",
    "validation": "--validation",
    "text": "--text",
    "text_pair": "--text-pair",
    "label": "--label",
    "separator": "--separator",
    "labels": "--class",
}
"""Key of the task -> option of `harness distill`."""


@dataclass(frozen=True)
class Setting:
    """What is known of teacher and data: the parts of a suite that all rungs have.

    Attributes:
        kind: kind of the task.
        columns: of the data.
        labels: the `labels` of the task; None: the sorted values of the label column.
        is_fine_tuned: whether the teacher has a head for the task.
        students: students of the suite, name -> settings.
        max_length: of the tokenized texts.
    """

    kind: str
    columns: DataColumns
    labels: Mapping[str, str] | None
    is_fine_tuned: bool
    students: Mapping[str, Mapping[str, object]]
    max_length: int


def template() -> dict[str, Any]:
    """The keys of suites/templates/distill.yaml."""
    file = Path(str(importlib.resources.files("harness_suites"))) / "templates" / "distill.yaml"
    content: dict[str, Any] = read_file(file).plain()
    return content


def options_of_keys(task: str) -> dict[str, str]:
    """Key of the task, alone and as the problems of a suite place it -> option of `harness distill`."""
    placed = {f"tasks.{task}.{key}": option for key, option in _OPTIONS.items()}
    return {**_OPTIONS, **placed, f"tasks.{task}": _OPTIONS["train"]}


def candidates(request: Request, setting: Setting) -> list[Candidate]:
    """Every method on every student."""
    methods = request.methods or tuple(template()["methods"])
    return [Candidate(method, student) for student in setting.students for method in methods]


def suite(
    request: Request,
    setting: Setting,
    rows: Sequence[Candidate],
    *,
    name: str,
    epochs: float,
    seeds: Sequence[int],
    latency: bool = True,
) -> dict[str, Any]:
    """The content of a suite that trains `rows`, and measures their latency if `latency` is true."""
    base = template()
    students = {row.student: dict(setting.students[row.student]) for row in rows}
    by_method: dict[str, list[str]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row.student)
    model = str(Path(request.teacher).resolve()) if Path(request.teacher).is_dir() else request.teacher
    return {
        "name": name,
        **({"plugins": [str(Path(path).resolve()) for path in request.plugins]} if request.plugins else {}),
        **({"trust_remote_code": True} if request.trust_remote_code else {}),
        "tasks": [{request.name: _task(request, setting)}],
        "teachers": {TEACHER: {"model": model, **({"finetune": False} if setting.is_fine_tuned else {})}},
        "students": students,
        "methods": [
            method if len(names) == len(students) else {method: {"students": names}}
            for method, names in by_method.items()
        ],
        "seeds": list(seeds),
        "training": {**base["training"], "epochs": epochs, "max_length": setting.max_length},
        "selection": base["selection"],
        **({"latency": base["latency"]} if latency else {}),
    }


def write(content: Mapping[str, Any], path: Path, comment: str) -> None:
    """Write a suite file that starts with a comment."""
    lines = [f"# {line}" for line in comment.splitlines()]
    text = "\n".join([*lines, "", yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _task(request: Request, setting: Setting) -> dict[str, Any]:
    columns = setting.columns
    scored = request.validation
    return {
        "kind": setting.kind,
        "train": str(Path(request.data).resolve()),
        "validation": str(Path(scored).resolve()) if isinstance(scored, str) else scored,
        **({"encoding": request.encoding} if request.encoding != "utf-8" else {}),
        **({"delimiter": request.delimiter} if request.delimiter else {}),
        **({} if request.quoting else {"quoting": False}),
        "text": columns.text,
        **({"text_pair": columns.text_pair} if columns.text_pair else {}),
        "label": columns.label,
        **({"separator": request.separator} if request.separator else {}),
        **({"labels": dict(setting.labels)} if setting.labels else {}),
        **({"standardize": True} if setting.kind == "regression" else {}),
    }
