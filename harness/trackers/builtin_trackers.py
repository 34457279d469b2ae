"""The built-in trackers, registered through the plugin hook. Each is imported when a suite uses it."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path

from harness import hookimpl
from harness.api.errors import Problem, UserError
from harness.api.tracker import RunObserver, TrackerFactory


@hookimpl
def harness_register_trackers(register: Callable[[str, TrackerFactory], None]) -> None:
    """Register the built-in trackers."""
    register("json", _json)
    register("tensorboard", _tensorboard)
    register("mlflow", _mlflow)
    register("wandb", _wandb)


def _json(folder: Path) -> object:
    from harness.trackers.json_lines import JsonLines

    folder.mkdir(parents=True, exist_ok=True)
    # Opened to append, without a buffer, which would split long lines: processes that share a suite write to one file.
    file = (folder / "events.jsonl").open("ab", buffering=0)
    return JsonLines(io.TextIOWrapper(file, encoding="utf-8", write_through=True))


def _tensorboard(folder: Path) -> RunObserver:
    _require("tensorboard")
    from harness.trackers.tensorboard import TensorBoard

    return RunObserver(TensorBoard(folder))


def _mlflow(folder: Path) -> RunObserver:
    _require("mlflow")
    from harness.trackers.mlflow import MLflow

    return RunObserver(MLflow(folder))


def _wandb(folder: Path) -> RunObserver:
    _require("wandb")
    from harness.trackers.wandb import WeightsAndBiases

    return RunObserver(WeightsAndBiases(folder))


def _require(package: str) -> None:
    """Raise `UserError` if a package cannot be imported."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        message = f"the tracker {package} needs a package: pip install 'kd-harness[{package}]' ({error})"
        raise UserError(Problem(message, "tracking")) from error
