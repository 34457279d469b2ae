"""The store: a folder with all that a suite has produced, written so that a kill at any moment costs no result.

::

    DIR/<suite>/plan.json                       what the suite asked for
    DIR/<suite>/runs/<key>/record.json          a run's result; the run counts once this is there
    DIR/<suite>/runs/<key>/predictions.parquet
    DIR/<suite>/runs/<key>/checksums.json       that of the predictions
    DIR/<suite>/runs/<key>/student/             the student, as `save_pretrained` writes it
    DIR/<suite>/teachers/<key>/record.json
    DIR/<suite>/teachers/<key>/predictions.parquet
    DIR/<suite>/general/<key>/record.json       a student distilled on unlabelled text, before any task
    DIR/<suite>/general/<key>/student/          which `init:` takes
    DIR/<suite>/latency/<key>.json              a latency measurement
    DIR/<suite>/tuning/<key>.json               all trials of a row on one task, and what was chosen
    DIR/<suite>/tuning/<key>.log                the same as Optuna's journal, trial by trial as they end
    DIR/<suite>/examples/<fingerprint>.parquet  the texts of a task's scored examples, once for all that scored them
    DIR/<suite>/checkpoints/<key>.pt            of runs that are under way
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from harness.api.errors import Problem, UserError
from harness.storage import atomic_writes, checksums
from harness.storage.frozen_model import FrozenModel
from harness.storage.latency_records import LatencyRecord
from harness.storage.records import SCHEMA_VERSION, GeneralRecord, PlanFile, RunRecord, TeacherRecord
from harness.storage.tuning_records import TuningRecord

if TYPE_CHECKING:
    from pandas import DataFrame

Model = TypeVar("Model", bound=FrozenModel)

AGAIN = "delete it and run the suite again, which makes only what is missing"


class Store:
    """The results of one suite. `folder` is made by the first save.

    Whatever reads raises `UserError` for a file that cannot be read or that another version wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(Problem("this is a file; results go to a folder", str(folder)))

    @classmethod
    def existing(cls, folder: Path) -> Store:
        """The store at `folder`, which must be there: a `UserError` says what the folder is instead."""
        folder = Path(folder)
        if folder.is_file() and folder.name == "plan.json":
            folder = folder.parent
        if (folder / "plan.json").is_file():
            return cls(folder)
        suites = sorted(str(plan.parent) for plan in folder.glob("*/plan.json"))
        if suites:
            remedy = f"it holds those of several suites; give one of them: {', '.join(suites)}"
        else:
            remedy = "`harness run SUITE` makes one, by default results/<name of the suite>"
        found = "not a results folder (it has no plan.json)" if folder.exists() else "no such results folder"
        raise UserError(Problem(f"{found}; {remedy}", str(folder)))

    def run_folder(self, key: str) -> Path:
        """Where a run's record, predictions and student are."""
        return self.folder / "runs" / key

    def teacher_folder(self, key: str) -> Path:
        """Where the record and the predictions of a teacher are; its weights are in the cache."""
        return self.folder / "teachers" / key

    def folder_of(self, result: RunRecord | TeacherRecord) -> Path:
        """Where a result's record is, and its predictions."""
        return self.run_folder(result.key) if isinstance(result, RunRecord) else self.teacher_folder(result.key)

    def checkpoint(self, key: str) -> Path:
        """Where the checkpoint of an unfinished run goes. The path alone: its folder may not be there yet."""
        return self.folder / "checkpoints" / f"{key}.pt"

    def record(self, key: str) -> RunRecord | None:
        """The record of a run, completed or failed; None: it never ended."""
        return _read_keyed(self.run_folder(key) / "record.json", RunRecord)

    def records(self) -> list[RunRecord]:
        """Every record, by task, label, student, seed and key: the same order on any file system."""
        found = [record for key in self.run_keys() if (record := self.record(key))]
        return sorted(found, key=lambda r: (r.task, r.label, r.student, r.seed, r.key))

    def run_keys(self) -> list[str]:
        """The keys of all runs that have a record, sorted; no record is read."""
        return sorted(path.parent.name for path in self.folder.glob("runs/*/record.json"))

    def save(
        self,
        record: RunRecord,
        predictions: DataFrame | None = None,
        export: Callable[[Path], object] | None = None,
    ) -> bool:
        """Keep a run's result: its data first, then the record that makes them count.

        A failed record gives way to a retry. A completed one stays, with its data: the same key means the same result,
        so there is nothing to gain, and a failure must not take it away.

        Args:
            predictions: example id, prediction, scores, label; its index is not kept.
            export: is called with the path of the student's folder, and makes and fills it.

        Returns:
            False if a completed record was there, so that nothing was written.
        """
        present = self.record(record.key)
        if present is not None and present.status == "completed":
            return False
        folder = self.run_folder(record.key)
        if predictions is not None:
            _write_predictions(folder, predictions)
        if export is not None:
            atomic_writes.write(folder / "student", export)
        _write(folder / "record.json", record)
        return True

    def teacher(self, key: str) -> TeacherRecord | None:
        """The record of a fine-tuned teacher; None: there is none."""
        return _read_keyed(self.teacher_folder(key) / "record.json", TeacherRecord)

    def teachers(self) -> list[TeacherRecord]:
        """Every teacher's record, by name, task and key."""
        keys = (path.parent.name for path in self.folder.glob("teachers/*/record.json"))
        found = [record for key in keys if (record := self.teacher(key))]
        return sorted(found, key=lambda r: (r.name, r.task, r.key))

    def save_teacher(self, record: TeacherRecord, predictions: DataFrame | None = None) -> None:
        """Keep a teacher's record, in place of an older one of the same key; and its predictions, before that."""
        if predictions is not None:
            _write_predictions(self.teacher_folder(record.key), predictions)
        _write(self.teacher_folder(record.key) / "record.json", record)

    def examples(self, fingerprint: str) -> DataFrame | None:
        """The texts of the examples with that `data_fingerprint`: split, id, and a column for each text; None: they
        were not kept."""
        import pandas as pd  # takes half a second

        path = self._examples(fingerprint)
        try:
            return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
            raise UserError(
                Problem(f"cannot be read ({' '.join(str(error).split()):.200}); {AGAIN}", str(path))
            ) from error

    def save_examples(self, fingerprint: str, make: Callable[[], DataFrame]) -> None:
        """Keep the texts of scored examples, which `make` gives, unless they are there."""
        if not self._examples(fingerprint).exists():
            _write_table(self._examples(fingerprint), make())

    def _examples(self, fingerprint: str) -> Path:
        return self.folder / "examples" / f"{fingerprint}.parquet"

    def general(self, key: str) -> GeneralRecord | None:
        """The record of a student distilled on unlabelled text; None: there is none."""
        return _read_keyed(self.general_folder(key) / "record.json", GeneralRecord)

    def general_folder(self, key: str) -> Path:
        """Where such a student and its record are."""
        return self.folder / "general" / key

    def save_general(self, record: GeneralRecord, export: Callable[[Path], object]) -> None:
        """Keep a student distilled on unlabelled text, unless it is there. `export` makes the folder and fills it."""
        folder = self.general_folder(record.key)
        if not (folder / "record.json").exists():
            atomic_writes.write(folder / "student", export)
            _write(folder / "record.json", record)

    def latency(self, key: str) -> LatencyRecord | None:
        """A latency measurement; None: there is none."""
        path = self.folder / "latency" / f"{key}.json"
        return _keyed(_read(path, LatencyRecord), path, key)

    def latencies(self) -> list[LatencyRecord]:
        """Every latency measurement, the oldest first."""
        keys = sorted(path.stem for path in self.folder.glob("latency/*.json"))
        found = [record for key in keys if (record := self.latency(key))]
        return sorted(found, key=lambda record: (record.provenance.ended, record.key))

    def save_latency(self, record: LatencyRecord) -> None:
        """Keep a latency measurement, in place of an older one of the same key."""
        _write(self.folder / "latency" / f"{record.key}.json", record)

    def tuning(self, key: str) -> TuningRecord | None:
        """The record of a tuning that is done; None: it is not."""
        path = self.folder / "tuning" / f"{key}.json"
        return _keyed(_read(path, TuningRecord), path, key)

    def save_tuning(self, record: TuningRecord) -> None:
        """Keep the record of a tuning."""
        _write(self.folder / "tuning" / f"{record.key}.json", record)

    def journal(self, key: str) -> Path:
        """Where the trials of a tuning are written as they end. The path alone: its folder may not be there yet."""
        return self.folder / "tuning" / f"{key}.log"

    def plan(self) -> PlanFile | None:
        """What the suite asked for; None: nothing yet."""
        return _read(self.folder / "plan.json", PlanFile)

    def save_plan(self, plan: PlanFile) -> None:
        """Keep what the suite asks for now, in place of what it asked for before."""
        _write(self.folder / "plan.json", plan)


def _write_table(path: Path, table: DataFrame) -> None:
    atomic_writes.write(path, lambda partial: table.to_parquet(partial, index=False, write_page_checksum=True))


def _write_predictions(folder: Path, predictions: DataFrame) -> None:
    """Predictions, and their checksum beside them. A kill between the two leaves predictions without a checksum, never
    with that of others."""
    path = folder / "predictions.parquet"
    (folder / checksums.NAME).unlink(missing_ok=True)
    _write_table(path, predictions)
    checksums.seal(folder, path)


def _write(path: Path, model: FrozenModel) -> None:
    atomic_writes.write_text(path, model.model_dump_json(indent=1) + "\n")


def _read_keyed(path: Path, model: type[Model]) -> Model | None:
    """A record, whose key must be the name of its folder."""
    return _keyed(_read(path, model), path, path.parent.name)


def _keyed(record: Model | None, path: Path, expected: str) -> Model | None:
    """The record, whose key must be that of its place."""
    key = getattr(record, "key", expected)
    if key != expected:
        raise UserError(Problem(f"the record is of key {key}, but lies in the place of another; {AGAIN}", str(path)))
    return record


def _read(path: Path, model: type[Model]) -> Model | None:
    """The file as `model`; None if it is not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(Problem(f"cannot be read ({error}); {AGAIN}", str(path))) from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(Problem(f"is not JSON ({error}); {AGAIN}", str(path))) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            Problem(
                f"schema_version is {version!r}, and this version of kd-harness reads {SCHEMA_VERSION}; "
                f"use the version that wrote it, or {AGAIN}",
                str(path),
            )
        )
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            Problem(f"is not a valid {model.__name__}: {key}: {first['msg']}; {AGAIN}", str(path))
        ) from error
