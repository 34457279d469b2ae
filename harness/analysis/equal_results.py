"""Whether results with the same key are equal: two machines may have trained the same run, teacher or text stage.

Results are equal if a board cannot tell them apart: same examples, scores, metrics and predictions. Costs, machines and
dates always differ, and the last bits of weights may.
"""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

from harness.analysis.compatibility import Result
from harness.api.errors import Problem, UserError
from harness.storage.disk_errors import explained
from harness.storage.records import GeneralRecord
from harness.storage.tuning_records import TuningRecord

COLUMNS = ["split", "id", "prediction"]


def of_results(one: Result, folder: Path, other: Result, other_folder: Path) -> str | None:
    """Describe the first difference of two completed runs, or of two teachers; None if they are equal.

    Predictions are compared if both folders have them.

    Raises:
        UserError: predictions cannot be read.
    """
    if one.data_fingerprint != other.data_fingerprint:
        return f"scored examples {one.data_fingerprint} and {other.data_fingerprint}"
    scores = [{"score": result.score, **result.metrics} for result in (one, other)]
    for name in sorted({*scores[0], *scores[1]}, key=lambda name: (name != "score", name)):
        if repr(scores[0].get(name)) != repr(scores[1].get(name)):  # by repr, since NaN is not equal to itself
            return f"{name} {scores[0].get(name)} and {scores[1].get(name)}"
    return _predictions(folder / "predictions.parquet", other_folder / "predictions.parquet")


def of_generals(one: GeneralRecord, other: GeneralRecord) -> str | None:
    """Describe the first difference of two students of a text stage, which have no score; None if they are equal."""
    if repr(one.losses) == repr(other.losses):
        return None
    pairs = zip(one.losses, other.losses, strict=False)
    step = next((point.step for point, second in pairs if repr(point) != repr(second)), len(one.losses))
    return f"losses differ from step {step} on"


def of_tunings(one: TuningRecord, other: TuningRecord) -> str | None:
    """Describe the first difference of two tunings; None if they are equal."""
    trials = [[(trial.number, repr(trial.values), repr(trial.score)) for trial in r.trials] for r in (one, other)]
    if trials[0] == trials[1]:
        return None
    if len(trials[0]) != len(trials[1]):
        return f"{len(trials[0])} and {len(trials[1])} trials"
    number = next(a[0] for a, b in zip(*trials, strict=True) if a != b)
    return f"trial {number} has another score or other values"


def _predictions(path: Path, other: Path) -> str | None:
    if not (path.exists() and other.exists()) or filecmp.cmp(path, other, shallow=False):
        return None
    one, two = _read(path), _read(other)
    if [row[:2] for row in one] != [row[:2] for row in two]:
        return "predictions of other examples"
    count = sum(a != b for a, b in zip(one, two, strict=True))
    return f"{count} of {len(one)} predictions differ" if count else None


def _read(path: Path) -> list[tuple[Any, ...]]:
    """The rows of predictions.parquet: split, id and prediction."""
    from pyarrow import ArrowException, parquet  # slow to import

    try:
        with explained(path):
            table = parquet.read_table(path, columns=COLUMNS)
    except (ValueError, ArrowException) as error:
        raise UserError(Problem(f"cannot be read ({' '.join(str(error).split()):.200})", str(path))) from error
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))
