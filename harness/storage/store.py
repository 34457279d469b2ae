"""The store: the results folder of a suite. All writes are atomic, so that a kill does not damage a result.

::

    DIR/<suite>/plan.json                       the jobs of the suite
    DIR/<suite>/runs/<key>/record.json          a run's result; written last, after its data
    DIR/<suite>/runs/<key>/predictions.parquet
    DIR/<suite>/runs/<key>/student/             the student, as `save_pretrained` writes it
    DIR/<suite>/runs/<key>/checksums.json       checksums of these files; those of older versions have some or none
    DIR/<suite>/teachers/<name>/record.json     a teacher on the examples that it was scored on: see `teacher_name`
    DIR/<suite>/teachers/<name>/predictions.parquet
    DIR/<suite>/general/<key>/record.json       a student distilled on unlabelled text, before any task
    DIR/<suite>/general/<key>/student/          this student, for `init:`
    DIR/<suite>/latency/<key>.json              a latency measurement
    DIR/<suite>/tuning/<key>.json               all trials of a row on one task, and the selected values
    DIR/<suite>/tuning/<key>.log                Optuna's journal of the trials
    DIR/<suite>/examples/<fingerprint>.parquet  the texts of a task's scored examples
    DIR/<suite>/checkpoints/<key>.pt            checkpoint of an unfinished run
    DIR/<suite>/checkpoints/<study>/<key>.pt    checkpoint of an unfinished trial of a tuning
    DIR/<suite>/set-aside/<time>/               results that `harness rerun` replaced
    DIR/<suite>/failures/<key>.json             why a teacher, a text stage, ... could not be built
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError
from harness.storage import record_files
from harness.storage.disk_errors import explained
from harness.storage.failure_records import FailureRecord
from harness.storage.latency_records import LatencyRecord
from harness.storage.plan_file import PlanFile
from harness.storage.record_files import REMEDY, teacher_name
from harness.storage.records import GeneralRecord, RunParts, RunRecord, RunSummary, TeacherRecord
from harness.storage.tuning_records import TuningRecord

if TYPE_CHECKING:
    from pandas import DataFrame


class Store:
    """The results of one suite. The first save creates `folder`.

    Methods that read raise `UserError` for a file that cannot be read or was written by another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._summaries: dict[str, tuple[tuple[int, ...], RunSummary]] = {}
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(Problem("is a file, expected a results folder", str(folder)))

    @classmethod
    def existing(cls, folder: Path) -> Store:
        """Open the store at `folder`. Raises `UserError` if the folder has no plan."""
        folder = Path(folder)
        if folder.is_file() and folder.name == "plan.json":
            folder = folder.parent
        if (folder / "plan.json").is_file():
            return cls(folder)
        suites = sorted(str(plan.parent) for plan in folder.glob("*/plan.json"))
        if suites:
            remedy = f"it has the results of several suites; pass one of them: {', '.join(suites)}"
        else:
            remedy = "`harness run SUITE` writes one, by default results/<name of the suite>"
        problem = "not a results folder (it has no plan.json)" if folder.exists() else "no such results folder"
        raise UserError(Problem(f"{problem}; {remedy}", str(folder)))

    def run_folder(self, key: str) -> Path:
        """Folder of a run's record, predictions and student."""
        return self.folder / "runs" / key

    def teacher_folder(self, key: str, fingerprint: str) -> Path:
        """Folder of a teacher's record and predictions on the examples with that `data_fingerprint`.

        Older versions named the folder by the key alone. If its record is on these examples, it is kept there.
        """
        folder = self.folder / "teachers" / teacher_name(key, fingerprint)
        if not folder.exists() and (older := self.teacher_in(key)) and older.data_fingerprint == fingerprint:
            return self.folder / "teachers" / key
        return folder

    def folder_of(self, result: RunRecord | TeacherRecord) -> Path:
        """Folder of a result's record and predictions."""
        if isinstance(result, RunRecord):
            return self.run_folder(result.key)
        return self.teacher_folder(result.key, result.data_fingerprint)

    def checkpoint(self, key: str, study: str | None = None) -> Path:
        """Path of the checkpoint of an unfinished run, or trial of the tuning `study`. Its folder may not exist."""
        return (self.folder / "checkpoints" if study is None else self.trial_checkpoints(study)) / f"{key}.pt"

    def trial_checkpoints(self, study: str) -> Path:
        """Folder of the checkpoints of a tuning's unfinished trials. It may not exist."""
        return self.folder / "checkpoints" / study

    def record(self, key: str) -> RunRecord | None:
        """Return the record of a run, completed or failed; None if the run has not ended."""
        return record_files.read_result(self.run_folder(key) / "record.json", RunRecord)

    def records(self) -> list[RunRecord]:
        """Return all records, sorted by task, label, student, seed and key."""
        records = [record for key in self.run_keys() if (record := self.record(key))]
        return sorted(records, key=lambda r: (r.task, r.label, r.student, r.seed, r.key))

    def summaries(self, but: Collection[str] = ()) -> dict[str, RunSummary]:
        """Return a summary of every record but those of the keys `but`, by key, in the order of `records`.

        A record is read again only if its file has changed since the last call.
        """
        found = [summary for key in self.run_keys() if key not in but and (summary := self._summary(key))]
        return {s.key: s for s in sorted(found, key=lambda s: (s.task, s.label, s.student, s.seed, s.key))}

    def parts(self, key: str) -> dict[str, Any]:
        """Return the parts of a run's key, without reading the rest of its record; empty if there is no record."""
        found = record_files.read_result(self.run_folder(key) / "record.json", RunParts)
        return found.parts if found else {}

    def _summary(self, key: str) -> RunSummary | None:
        path = self.run_folder(key) / "record.json"
        try:
            stat = path.stat()
        except OSError:  # reading it reports the problem
            stat = None
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat else ()
        known = self._summaries.get(key)
        if known and version and known[0] == version:
            return known[1]
        summary = record_files.read_result(path, RunSummary)
        if summary:
            self._summaries[key] = version, summary
        return summary

    def run_keys(self) -> list[str]:
        """Return the keys of all runs that have a record, sorted, without reading the records."""
        return sorted(path.parent.name for path in self.folder.glob("runs/*/record.json"))

    def save(
        self,
        record: RunRecord,
        predictions: DataFrame | None = None,
        export: Callable[[Path], object] | None = None,
    ) -> bool:
        """Save a run's result: its data first, then the record.

        A failed record is replaced. A completed record is kept with its data, since the same key means the same result.

        Args:
            record: the record of the run.
            predictions: example id, prediction, scores, label; its index is not stored.
            export: called with the path of the student's folder, which it creates.

        Returns:
            Whether the result was written; False if a completed record exists.
        """
        existing = self.record(record.key)
        if existing is not None and existing.status == "completed":
            return False
        record_files.write_result(self.run_folder(record.key), record, predictions, export)
        return True

    def teacher(self, key: str, fingerprint: str | None) -> TeacherRecord | None:
        """Return the record of a teacher on the examples with that `data_fingerprint`; None if there is none.

        Without a fingerprint, as in plans of older versions, the examples may be any.
        """
        if fingerprint is not None:
            return self.teacher_in(self.teacher_folder(key, fingerprint).name)
        names = [key, *sorted(path.name for path in self.folder.glob(f"teachers/{teacher_name(key, '*')}"))]
        return next((record for name in names if (record := self.teacher_in(name)) and record.key == key), None)

    def teacher_in(self, name: str) -> TeacherRecord | None:
        """Return the record in the folder `name` of the teachers; None if there is none."""
        return record_files.read_result(self.folder / "teachers" / name / "record.json", TeacherRecord)

    def teachers(self) -> list[TeacherRecord]:
        """Return the records of all teachers, sorted by name, task, key and examples."""
        names = (path.parent.name for path in self.folder.glob("teachers/*/record.json"))
        records = [record for name in names if (record := self.teacher_in(name))]
        return sorted(records, key=lambda r: (r.name, r.task, r.key, r.data_fingerprint))

    def save_teacher(self, record: TeacherRecord, predictions: DataFrame | None = None) -> None:
        """Save a teacher's predictions and then its record, which replaces one on the same examples."""
        record_files.write_result(self.folder_of(record), record, predictions)

    def examples(self, fingerprint: str) -> DataFrame | None:
        """Return the texts of the examples with that `data_fingerprint`; None if they are not stored.

        Columns: ``split``, ``id``, and one for each text.
        """
        from pyarrow import ArrowException, parquet  # slow to import

        path = self._examples_path(fingerprint)
        try:
            with explained(path, can_be_missing=True):
                table = parquet.ParquetFile(path, page_checksum_verification=True).read()
            table.validate(full=True)
            frame: DataFrame = table.to_pandas(ignore_metadata=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ArrowException) as error:
            raise UserError(
                Problem(f"cannot be read ({' '.join(str(error).split()):.200}); {REMEDY}", str(path))
            ) from error
        if missing := [name for name in ("split", "id") if table.column_names.count(name) != 1]:
            raise UserError(Problem(f"does not have a column {missing[0]!r}; {REMEDY}", str(path)))
        return frame

    def has_examples(self, fingerprint: str) -> bool:
        """Whether the texts of the examples with that `data_fingerprint` are stored."""
        return self._examples_path(fingerprint).exists()

    def save_examples(self, fingerprint: str, load_texts: Callable[[], DataFrame]) -> None:
        """Save the texts of scored examples, which `load_texts` returns, unless they are stored."""
        if not self.has_examples(fingerprint):
            record_files.write_table(self._examples_path(fingerprint), load_texts())

    def _examples_path(self, fingerprint: str) -> Path:
        return self.folder / "examples" / f"{fingerprint}.parquet"

    def general(self, key: str) -> GeneralRecord | None:
        """Return the record of a student distilled on unlabelled text; None if there is none."""
        return record_files.read_result(self.general_folder(key) / "record.json", GeneralRecord)

    def general_folder(self, key: str) -> Path:
        """Folder of a student distilled on unlabelled text, and of its record."""
        return self.folder / "general" / key

    def save_general(self, record: GeneralRecord, export: Callable[[Path], object]) -> None:
        """Save a student distilled on unlabelled text, unless it is stored. `export` creates the student's folder."""
        folder = self.general_folder(record.key)
        if not (folder / "record.json").exists():
            record_files.write_result(folder, record, export=export)

    def latency(self, key: str) -> LatencyRecord | None:
        """Return a latency measurement; None if there is none."""
        return record_files.read_named(self.folder / "latency" / f"{key}.json", LatencyRecord)

    def latency_keys(self) -> list[str]:
        """Return the keys of all latency measurements, sorted, without reading the records."""
        return sorted(path.stem for path in self.folder.glob("latency/*.json"))

    def latencies(self) -> list[LatencyRecord]:
        """Return all latency measurements, the oldest first."""
        records = [record for key in self.latency_keys() if (record := self.latency(key))]
        return sorted(records, key=lambda record: (record.provenance.ended, record.key))

    def save_latency(self, record: LatencyRecord) -> None:
        """Save a latency measurement, which replaces one with the same key."""
        record_files.write(self.folder / "latency" / f"{record.key}.json", record)

    def remove_latency(self, key: str) -> None:
        """Remove a latency measurement, if there is one."""
        (self.folder / "latency" / f"{key}.json").unlink(missing_ok=True)

    def tuning(self, key: str) -> TuningRecord | None:
        """Return the record of a finished tuning; None if it is not finished."""
        return record_files.read_named(self.folder / "tuning" / f"{key}.json", TuningRecord)

    def save_tuning(self, record: TuningRecord) -> None:
        """Save the record of a tuning."""
        record_files.write(self.folder / "tuning" / f"{record.key}.json", record)

    def journal(self, key: str) -> Path:
        """Path of Optuna's journal of a tuning. Its folder may not exist."""
        return self.folder / "tuning" / f"{key}.log"

    def failure(self, key: str) -> FailureRecord | None:
        """Return why an artifact could not be built in the last attempt; None if it has not failed."""
        return record_files.read_named(self.folder / "failures" / f"{key}.json", FailureRecord)

    def save_failure(self, record: FailureRecord) -> None:
        """Save the failure of an artifact, which replaces an older one."""
        record_files.write(self.folder / "failures" / f"{record.key}.json", record)

    def remove_failure(self, key: str) -> None:
        """Remove the failure of an artifact, if there is one."""
        (self.folder / "failures" / f"{key}.json").unlink(missing_ok=True)

    def plan(self) -> PlanFile | None:
        """Return the plan of the suite; None if there is none."""
        return record_files.read(self.folder / "plan.json", PlanFile)

    def save_plan(self, plan: PlanFile) -> None:
        """Save the plan of the suite, which replaces an older one."""
        record_files.write(self.folder / "plan.json", plan)
