"""Merges the results folders of several machines into one: `harness merge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.compatibility import Result, refuse_incomparable
from harness.api.errors import Problem, UserError
from harness.execution.active_processes import held_board, refuse_active
from harness.execution.claims import Claims
from harness.storage import atomic_writes, folder_checks, result_copies, set_aside
from harness.storage.store import Store
from harness.workflow import plan_union
from harness.workflow.merge_selection import Contents, Selection, Stored, first_files, place, select
from harness.workflow.plan_columns import PlanSource
from harness.workflow.plan_union import Prefer

if TYPE_CHECKING:
    from harness.plugin_host.host import Host
    from harness.reporting.written_report import Report
    from harness.storage.plan_file import PlanFile
    from harness.storage.records import RunRecord, TeacherRecord

Say = Callable[[str], None]
"""Receives a line about the progress, for people to read."""

PLAN = "plan.json"

COPIED_FOLDERS = ("runs", "teachers", "general", "latency", "tuning", "examples", "failures", "checkpoints")
"""The folders of a results folder that are merged. Reports are written anew."""


@dataclass
class Merged:
    """What a merge has done.

    Attributes:
        copied: kind (``runs``, ``teachers``, ...) -> number of results that were copied.
        kept: the same of results that were in the target already.
        shared: number of runs and teachers that several folders contained, with equal results.
        aside: where results, and data without a record, are that were replaced in the target; None if none was.
        decisions: what was decided by preference, one line each.
        report: the report of the target.
    """

    store: Store
    copied: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    shared: int = 0
    aside: Path | None = None
    decisions: tuple[str, ...] = ()
    report: Report | None = field(default=None, repr=False)


def merge_results(
    folders: Sequence[str | Path],
    to: str | Path,
    *,
    prefer: Prefer | None = None,
    host: Host | None = None,
    say: Say = lambda line: None,
) -> Merged:
    """Merge the results of several folders into the folder `to`, and write its report. The folders do not change.

    A result that `to` already has is not copied again, so a merge that was interrupted can be repeated.

    Args:
        folders: results folders of suites.
        to: a results folder, which is the first of the folders then, or a new folder.
        prefer: the folder whose result counts if results with the same key differ, or if plans have different keys for
            the runs of a task.
        host: the plugins' formats and sections for the report; by default those of the installed plugins.
        say: receives a line if it waits for a process that writes the report of `to`.

    Raises:
        harness.UserError: a folder has no results, a file is damaged or a symbolic link, the results contradict each
            other, or a process executes a suite in `to`. Apart from damaged data, this is found before anything is
            copied.
    """
    target = Path(to)
    sources = _sources(folders, target)
    _refuse_foreign(target)
    with _claimed(target, say):
        own = [Contents(Store(target), Store(target).plan())] if target.exists() else []
        contents = [*own, *(Contents(store, store.plan()) for store in sources)]
        planned = [PlanSource(c.store.folder, c.plan, _key_parts(c), c.completed) for c in contents if c.plan]
        union = plan_union.union(planned, target, prefer)
        selection = select(contents, prefer)
        _check(selection, union.plan, target)
        decisions = (*union.decisions, *selection.decisions)
        merged = Merged(Store(target), shared=selection.shared, decisions=decisions)
        _copy(merged, selection, contents)
        merged.store.save_plan(union.plan)
        from harness.reporting import report

        merged.report = report(target, host)
    return merged


def _sources(folders: Sequence[str | Path], target: Path) -> list[Store]:
    """The stores at `folders`, each once, without the target. Raises `UserError` if a result there is a link."""
    stores = {store.folder.resolve(): store for store in map(Store.existing, map(Path, folders))}
    stores.pop(target.resolve(), None)
    for store in stores.values():
        result_copies.refuse_links(store.folder, (PLAN, *COPIED_FOLDERS))
    if not stores:
        raise UserError(Problem("nothing to merge: name at least one other results folder", str(target)))
    return list(stores.values())


def _refuse_foreign(target: Path) -> None:
    """Raise `UserError` if the target is neither new nor a results folder, nor has an interrupted merge."""
    if not target.exists() or (target / PLAN).is_file():
        return
    Store(target)  # refuses a file
    own = (*COPIED_FOLDERS, set_aside.NAME)
    foreign = sorted(
        path.name
        for path in target.iterdir()
        if path.name not in own and path.suffix not in (folder_checks.CLAIM, atomic_writes.SUFFIX)
    )
    if foreign:
        remedy = "name a new folder, such as results/<name of the suite>"
        raise UserError(Problem(f"not a results folder, and it contains {foreign[0]}; {remedy}", str(target)))


@contextmanager
def _claimed(target: Path, say: Say) -> Iterator[None]:
    """Hold the claim of the target's plan and board, so that no other process writes them meanwhile.

    Raises:
        UserError: a process executes a suite in the target. One that starts later waits for the end of the merge.
    """
    try:
        with Claims() as claims, held_board(claims, target, "merged board", say):
            refuse_active(claims, target, say)
            yield
    finally:
        with suppress(OSError):  # it is not empty
            target.rmdir()


def _key_parts(contents: Contents) -> Callable[[str], dict[str, object]]:
    teachers = {record.key: record.parts for record in contents.teachers.values()}

    def parts(key: str) -> dict[str, object]:
        return contents.runs[key].parts if key in contents.runs else teachers.get(key, {})

    return parts


class _Origins(Store):
    """The store of a target before results are copied: each is in the folder that it was selected from."""

    def __init__(self, folder: Path, origins: Iterable[Stored[RunRecord] | Stored[TeacherRecord]]) -> None:
        super().__init__(folder)
        self._origins = {(stored.record.key, stored.record.data_fingerprint): stored.store for stored in origins}

    def folder_of(self, result: Result) -> Path:
        return self._origins[result.key, result.data_fingerprint].folder_of(result)


def _check(selection: Selection, plan: PlanFile, target: Path) -> None:
    """Check that the selected results can be on one board."""
    runs = {run.key for run in plan.runs}
    planned: list[Stored[RunRecord] | Stored[TeacherRecord]] = []
    planned += [run for key, run in selection.runs.items() if key in runs and run.record.status == "completed"]
    examples, teachers = plan.scored_teachers, selection.teachers.values()
    scored = [teacher for teacher in teachers if teacher.record.key in examples]
    planned += [t for t in scored if examples[t.record.key] in (None, t.record.data_fingerprint)]
    refuse_incomparable(_Origins(target, planned), plan, [stored.record for stored in planned])


@dataclass(frozen=True)
class _Copy:
    """A file, or the folder of a result, to copy to the target."""

    kind: str
    source: Path
    target: Path
    is_result: bool = False

    @property
    def is_present(self) -> bool:
        """Whether the target itself has the selected result."""
        return self.source == self.target

    def execute(self) -> None:
        if self.is_result:
            result_copies.copy_result(self.source, self.target)
        else:
            result_copies.copy_file(self.source, self.target)


def _copies(selection: Selection, contents: Sequence[Contents], target: Path) -> Iterator[_Copy]:
    """What the target consists of, in the order in which it is copied: what others refer to first."""
    for path in first_files(contents, "examples/*.parquet"):
        yield _file("examples", path, target)
    yield from _folders("teachers", selection.teachers, target)
    yield from _folders("general", selection.generals, target)
    yield from _folders("runs", selection.runs, target)
    for key, tuning in selection.tunings.items():
        if (journal := tuning.store.journal(key)).exists():
            yield _file("journals", journal, target)
    for path in first_files(contents, "tuning/*.log", selection.tunings):
        yield _file("journals", path, target)
    yield from _files("tuning", selection.tunings, target)
    completed = [key for key, run in selection.runs.items() if run.record.status == "completed"]
    for path in first_files(contents, "checkpoints/*.pt", completed):
        yield _file("checkpoints", path, target)
    for path in first_files(contents, "checkpoints/*/*.pt"):
        if path.parent.name not in selection.tunings:
            yield _Copy("checkpoints", path, target / "checkpoints" / path.parent.name / path.name)
    yield from _files("latency", selection.latencies, target)
    yield from _files("failures", selection.failures, target)


def _folders(kind: str, results: Mapping[str, Stored[Any]], target: Path) -> Iterator[_Copy]:
    store = Store(target)
    for stored in results.values():
        yield _Copy(kind, place(kind, stored.record, stored.store), place(kind, stored.record, store), is_result=True)


def _files(kind: str, results: Mapping[str, Stored[Any]], target: Path) -> Iterator[_Copy]:
    for key, stored in results.items():
        yield _file(kind, stored.store.folder / kind / f"{key}.json", target)


def _file(kind: str, source: Path, target: Path) -> _Copy:
    return _Copy(kind, source, target / source.parent.name / source.name)


def _copy(merged: Merged, selection: Selection, contents: Sequence[Contents]) -> None:
    """Copy what the target does not have.

    What is replaced there is set aside first: a result, or the data of a run that was killed before its record.
    """
    target = merged.store.folder
    copies = list(_copies(selection, contents, target))
    merged.kept.update(copy.kind for copy in copies if copy.is_present)
    missing = [copy for copy in copies if not copy.is_present]
    if replaced := [copy.target for copy in missing if copy.target.exists()]:
        merged.aside = set_aside.move(target, replaced)
    for copy in missing:
        copy.execute()
        merged.copied[copy.kind] += 1
    for path in sorted(target.glob("failures/*.json")):
        if path.stem not in selection.failures:  # it was built in another folder
            merged.store.remove_failure(path.stem)
