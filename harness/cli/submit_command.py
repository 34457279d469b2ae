"""`harness submit`: predictions of GLUE's test sets by the students of a suite, as a zip for its server."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest
from harness.cli.command_setup import load_suite
from harness.storage.plan_file import PlanFile
from harness.storage.run_lookup import StoredRun
from harness.storage.store import Store

if TYPE_CHECKING:
    import torch

    from harness.api.task import Task
    from harness.prediction.glue_submission import TestSet

REFUSED = (
    "the GLUE server refuses a zip without them; --allow-missing fills missing files with one constant prediction,"
    " whose scores mean nothing"
)

UNREADABLE = "the tasks of these files are trained, so their test sets are needed, also with --allow-missing"


@dataclass(frozen=True)
class SubmitOptions:
    """Whose predictions are submitted, and where the zip is written."""

    label: str
    seed: int | None = None
    student: str | None = None
    to: Path | None = None
    allow_missing: bool = False
    device: str | None = None


def submit_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, options: SubmitOptions
) -> None:
    """Predict the test sets of GLUE with the runs of one row and seed, and write the zip. Prints its files.

    Raises:
        UserError: the suite was not run, a name is unknown, or a task, a run or test examples are missing. The test set
            of a task with a run must be readable also if files may be missing.
    """
    loaded = load_suite(name, overrides, plugins)
    from harness.planning import devices
    from harness.prediction import glue_submission
    from harness.storage import atomic_writes

    device = devices.selected(options.device)
    store = Store.existing(results / loaded.suite.spec.name)
    runs, absent = _runs(store, options)
    tasks = loaded.host.tasks
    texts, problems = _texts(absent, loaded.suite.sources.get("glue"))
    if problems and not options.allow_missing:
        raise UserError(*problems, Problem(REFUSED, "submit"))
    for problem in problems:
        print(f"missing: {problem}", file=sys.stderr)
    files = dict(_files(runs, texts, tasks, device, trust_remote_code=loaded.suite.spec.trust_remote_code))
    first = next(iter(runs.values())).record
    default = store.folder / "submissions" / f"{first.label}-{first.student}-seed{first.seed}.zip"
    target = options.to or default
    atomic_writes.write_bytes(target, glue_submission.zipped(files))
    print(f"{target}: {', '.join(files)}")


def _runs(store: Store, options: SubmitOptions) -> tuple[dict[str, StoredRun], dict[str, str]]:
    """GLUE task -> its run, and GLUE task -> why it has none."""
    from harness.prediction.glue_submission import TEST_SETS

    plan = store.plan()
    assert plan is not None  # `Store.existing` has checked it
    student, seed = _row(plan, options)
    runs, absent = {}, {}
    for task in dict.fromkeys(test.task for test in TEST_SETS):
        row = (task, options.label, student, seed)
        planned = next((run for run in plan.runs if (run.task, run.label, run.student, run.seed) == row), None)
        record = store.record(planned.key) if planned else None
        if record is not None and record.status == "completed":
            runs[task] = StoredRun(store, record)
        elif planned:
            state = "has failed" if record else "is not trained yet"
            absent[task] = f"{options.label} on {student}, seed {seed}, {state} (`{plan.command}`)"
        elif task in {one.name for one in plan.tasks}:
            absent[task] = f"the suite trains no {options.label} on {student} on it"
        else:
            absent[task] = f"it is not in the suite {plan.suite}"
    if not runs:
        raise UserError(
            Problem(
                f"no run of {options.label} on {student}, seed {seed}, on a task of GLUE is completed",
                str(store.folder),
            )
        )
    return runs, absent


def _row(plan: PlanFile, options: SubmitOptions) -> tuple[str, int]:
    """The student and the seed. Raises `UserError` for unknown names, or if the student is not clear."""
    problems = []
    if options.label not in plan.labels:
        problems.append(Problem(f"no method {options.label!r}; {nearest(options.label, plan.labels)}", "--label"))
    if options.student is not None and options.student not in plan.students:
        problems.append(
            Problem(f"no student {options.student!r}; {nearest(options.student, plan.students)}", "--student")
        )
    if options.student is None and len(plan.students) > 1:
        problems.append(Problem(f"the suite has several; choose one of {', '.join(plan.students)}", "--student"))
    if options.seed is not None and options.seed not in plan.seeds:
        problems.append(Problem(f"no seed {options.seed}; its seeds are {', '.join(map(str, plan.seeds))}", "--seed"))
    if problems:
        raise UserError(*problems)
    return options.student or plan.students[0], plan.seeds[0] if options.seed is None else options.seed


def _texts(absent: Mapping[str, str], source: str | None) -> tuple[dict[str, list[list[str]]], list[Problem]]:
    """File -> the texts of its test set, and what the server would miss.

    Raises:
        UserError: a test set cannot be read although its task has a run.
    """
    from harness.prediction.glue_submission import TEST_SETS, shortfall
    from harness.tasks.glue import load_test_texts

    texts: dict[str, list[list[str]]] = {}
    problems: list[Problem] = []
    unreadable: list[Problem] = []
    for test in TEST_SETS:
        if test.task in absent:
            problems.append(Problem(f"{test.file}: task {test.task}: {absent[test.task]}"))
            continue
        try:
            texts[test.file] = load_test_texts(test.config, test.split, source)
        except UserError as error:
            unreadable += [Problem(f"{test.file}: {problem}") for problem in error.problems]
            continue
        if few := shortfall(test, len(texts[test.file][0])):
            problems.append(Problem(few))
    if unreadable:
        raise UserError(*unreadable, Problem(UNREADABLE, "sources.glue"))
    return texts, problems


def _files(
    runs: Mapping[str, StoredRun],
    texts: Mapping[str, list[list[str]]],
    tasks: Mapping[str, Task],
    device: torch.device,
    *,
    trust_remote_code: bool,
) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file. Each student is loaded once."""
    from harness.prediction import glue_submission, loaded_model
    from harness.prediction.predictions import predict

    models = {}
    for test in glue_submission.TEST_SETS:
        task = tasks[test.task]
        if test.file not in texts:
            yield test.file, glue_submission.placeholder(test, task)
            continue
        if test.task not in models:
            models[test.task] = loaded_model.of_run(runs[test.task], trust_remote_code=trust_remote_code)
        print(f"{test.file}: {len(texts[test.file][0]):,} rows", file=sys.stderr, flush=True)
        output = predict(models[test.task], texts[test.file], device, batch_size=32)
        yield test.file, _content(test, task, output["value" if "value" in output else "label"])


def _content(test: TestSet, task: Task, predictions: Sequence[str] | Sequence[float]) -> str:
    from harness.prediction.glue_submission import rows_of

    try:
        return rows_of(test, task, predictions)
    except ValueError as error:
        raise UserError(Problem(str(error), "submit")) from error
