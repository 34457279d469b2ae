"""What a shell completes: names of suites, methods and tasks, and values of options.

Names come from files that are read in milliseconds; plugins are not loaded, so theirs are not completed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

DEVICES = ("cpu", "cuda", "mps")
ENGINES = ("local", "ray")
TRACKERS = ("json", "tensorboard", "mlflow", "wandb")
SUFFIXES = (".yaml", ".yml")


def suites(incomplete: str) -> list[str]:
    """Shipped suites, and suite files and folders below the path that is being typed."""
    from harness.config.shipped_suites import shipped_suites

    return [*_matching(sorted(shipped_suites()), incomplete), *_suite_files(incomplete)]


def methods(incomplete: str) -> list[str]:
    """Names of the shipped methods."""
    prefix = "method "
    names = [name.removeprefix(prefix) for name in _schema()["$defs"] if name.startswith(prefix)]
    return _matching(names, incomplete)


def tasks(incomplete: str) -> list[str]:
    """Names of the built-in tasks."""
    return _matching(_schema()["properties"]["tasks"]["items"]["anyOf"][0]["enum"], incomplete)


def selections(incomplete: str) -> list[str]:
    """Values of ``--only``: the columns, then the tasks or methods of a column that is complete."""
    column, separator, value = incomplete.partition("=")
    if not separator:
        return _matching([f"{name}=" for name in ("task", "label", "method", "student", "seed", "key")], incomplete)
    names = {"task": tasks, "label": methods, "method": methods}.get(column)
    return [f"{column}={name}" for name in names(value)] if names else []


def devices(incomplete: str) -> list[str]:
    return _matching(DEVICES, incomplete)


def engines(incomplete: str) -> list[str]:
    return _matching(ENGINES, incomplete)


def formats(incomplete: str) -> list[str]:
    """Names of the built-in formats of reports."""
    from harness.reporting.builtin_reports import FORMATS

    return _matching(FORMATS, incomplete)


def trackers(incomplete: str) -> list[str]:
    return _matching(TRACKERS, incomplete)


def _matching(names: Any, incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _suite_files(incomplete: str) -> list[str]:
    folder, _, beginning = incomplete.rpartition("/")
    prefix = incomplete[: len(incomplete) - len(beginning)]
    try:
        entries = sorted(Path(folder or ("/" if prefix else ".")).expanduser().iterdir())
    except OSError:
        return []
    shown = [entry for entry in entries if not entry.name.startswith(".") and entry.name.startswith(beginning)]
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in shown]
    return [prefix + name for name in names if name.endswith(("/", *SUFFIXES))]


def _schema() -> dict[str, Any]:
    """The JSON Schema of suite files, which has the names of tasks and methods."""
    import json

    from harness.config.shipped_suites import SCHEMA, suites_folder

    schema: dict[str, Any] = json.loads((suites_folder() / SCHEMA).read_text(encoding="utf-8"))
    return schema
