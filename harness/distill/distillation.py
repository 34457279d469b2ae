"""Runs the rungs of `harness distill`, selects a student and exports it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis import best_students
from harness.analysis.aggregate import summarize
from harness.analysis.best_students import Limits
from harness.api.errors import Problem, UserError
from harness.api.names import NAME_RULE, is_name
from harness.api.wording import counted
from harness.distill import data_columns, halving, label_matching, student_sizes, suite_content, teacher_facts
from harness.distill.halving import Candidate
from harness.distill.request import Request
from harness.distill.rung_times import RungTime, RungTimes
from harness.distill.suite_content import Setting
from harness.distill.teacher_facts import TeacherFacts
from harness.export import exporting, model_folder
from harness.models import pretrained
from harness.planning import task_data
from harness.plugin_host.host import Host
from harness.resolution import load_mapping, resolve
from harness.storage.store import Store
from harness.tasks.tabular.option_names import named_as_options
from harness.tasks.tabular.table import Table
from harness.tasks.tabular.table_files import read_tables

if TYPE_CHECKING:
    from harness.export.model_card import CardFacts
    from harness.workflow.suite_run import SuiteResult

SHORTEST, LONGEST = 0.1, 10.0
"""Limits of the epochs of a rung."""

FIRST_RUNG_STEPS_PER_SECOND = 2.0
"""Assumed speed of training before the first rung has been measured."""

Execute = Callable[[Path], "SuiteResult"]
"""Runs a suite file and writes its results to the results folder of the request."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Distilled:
    """The exported student.

    Attributes:
        suite: the suite file of the last rung, which has the exported student.
        results: its results folder.
        model: the folder of the exported model.
        facts: the selected run, and what is known about it.
    """

    suite: Path
    results: Path
    model: Path
    facts: CardFacts


def distill(request: Request, execute: Execute, say: Say = lambda line: None) -> Distilled:
    """Compare students and methods within the budget, and export the best student within the limits.

    Each rung is a suite file in `request.folder`: the candidates of the first rung train shortly, the best third of
    each rung, by the score on held-out training examples, longer. The last rung trains with all seeds, and its board
    reports scores on the validation examples, which were not used for selection.

    A repeated call with the same request trains what is missing: the rungs keep their lengths (`RungTimes`).

    Raises:
        UserError: teacher or data are invalid, no candidate could be trained, or none is within the limits.
    """
    model_folder.refuse_occupied(request.model)
    _check_name(request)
    with named_as_options(suite_content.options_of_keys(request.name)):
        setting = examine(request, say)
        rows = _applicable(request, setting, say)
    count, left = halving.rungs(len(rows)), request.budget
    compared = f"{counted(len(rows), 'candidate')} in {counted(count, 'rung')}"
    times = RungTimes(request.folder / "rungs.json", request.budget)
    per_epoch = _examples(request) / suite_content.template()["training"]["batch_size"] / FIRST_RUNG_STEPS_PER_SECOND
    shortest = SHORTEST
    for number in range(1, count + 1):
        last = number == count
        seeds = request.seeds if last else request.seeds[:1]
        trainings = len(rows) * len(seeds)
        name = request.name if last else f"{request.name}-rung-{number}"
        path = request.folder / ("suite.yaml" if last else f"rung-{number}.yaml")
        latency = last or request.max_seconds is not None
        longest = suite_content.suite(request, setting, rows, name=name, epochs=LONGEST, seeds=seeds, latency=latency)
        rung = times.find(name, longest) or RungTime(
            halving.epochs_of_rung(left, count - number + 1, trainings, per_epoch, shortest=shortest, longest=LONGEST)
        )
        content = {**longest, "training": {**longest["training"], "epochs": rung.epochs}}
        suite_content.write(content, path, _comment(number, count))
        candidates, epochs = counted(len(rows), "candidate"), counted(float(rung.epochs), "epoch")
        say(f"rung {number} of {count}: {candidates}, {epochs} each, {counted(len(seeds), 'seed')}: {path}")
        with times.measured(name, longest, rung):
            execute(path)
        store = Store(request.results / name)
        left = max(0.0, left - rung.seconds)
        shortest = rung.epochs  # a survivor is never trained shorter than before
        per_epoch = _training_seconds(store) / (trainings * rung.epochs)
        rows = _best(store, rows, request, everything=last)
    return _export(request, store, rows[0], path, compared)


def examine(request: Request, say: Say = lambda line: None) -> Setting:
    """Read teacher and data, and decide what all rungs have in common.

    Raises:
        UserError: they are invalid, or do not fit each other.
    """
    trust = request.trust_remote_code
    facts = teacher_facts.read(pretrained.locate(request.teacher, trust_remote_code=trust), trust_remote_code=trust)
    tables = read_tables(request.data, request.files)
    found = data_columns.find_columns(
        _columns(tables), text=request.text, text_pair=request.text_pair, label=request.label
    )
    cells = [cell for table in tables for cell in table.columns[found.label]]
    kind = facts.kind or teacher_facts.kind_of_labels(cells)
    _refuse_unused(request, kind)
    labels, outputs = _labels(request, facts, kind, found.label, cells)
    students = student_sizes.student_sizes(facts.config, request.max_parameters, outputs)
    if not students:
        fewest = student_sizes.fewest_parameters(facts.config, outputs)
        message = f"no student has as few parameters as {request.max_parameters:,}; the smallest one has {fewest:,}"
        raise UserError(Problem(message, "--max-params"))
    pair = f" and {found.text_pair!r}" if found.text_pair else ""
    say(f"{request.data}: {len(cells)} examples; text {found.text!r}{pair}, label {found.label!r}; {kind}")
    if labels:
        say("classes: " + ", ".join(f"{value} = {name}" for value, name in list(labels.items())[:8]))
    max_length = min(request.max_length, facts.positions or request.max_length)
    say(f"texts are truncated to {max_length} tokens")
    return Setting(kind, found, labels, facts.kind is not None, students, max_length)


def _refuse_unused(request: Request, kind: str) -> None:
    """Raise `UserError` with the options about labels that the kind of task does not have."""
    problems = []
    if request.classes and kind == "regression":
        problems.append(Problem("the task is a regression, whose labels are numbers, not classes", "--class"))
    if request.separator and kind != "multilabel":
        problems.append(
            Problem(f"only a teacher of several labels has cells of several; this is {kind}", "--separator")
        )
    if problems:
        raise UserError(*problems)


def _labels(
    request: Request, facts: TeacherFacts, kind: str, column: str, cells: Sequence[Any]
) -> tuple[dict[str, str] | None, int]:
    """The `labels` of the task, see `label_matching.match`, and the number of outputs of its head."""
    if kind == "regression":
        return None, 1
    values = label_matching.label_values(cells, kind, request.separator)
    if values is None:
        return None, len(facts.classes)
    fewest = 1 if kind == "multilabel" else 2
    labels = label_matching.match(values, request.classes, facts.classes, column, fewest=fewest)
    return labels, len(facts.classes) or len(label_matching.distinct(values))


def _training_seconds(store: Store) -> float:
    """Seconds that the runs of a rung were trained and scored, without what is done once: start, teacher, latency."""
    plan = store.plan()
    keys = {run.key for run in plan.runs} if plan else set()
    costs = [record.cost for record in store.records() if record.key in keys]
    return math.fsum(cost.student_seconds + cost.teacher_seconds + cost.evaluation_seconds for cost in costs) or 1.0


def _check_name(request: Request) -> None:
    """Raise `UserError` if a suite cannot have a task of this name, or a plugin cannot be loaded."""
    name = request.name
    if not is_name(name):
        raise UserError(Problem(f"invalid name {name!r}; allowed: {NAME_RULE}", "--name"))
    if name in Host.create(request.plugins).tasks:
        raise UserError(Problem(f"{name!r} is a task of the harness; give another name: --name my-{name}", "--name"))


def _applicable(request: Request, setting: Setting, say: Say) -> list[Candidate]:
    """The candidates that can be trained. Methods without one are reported.

    Raises:
        UserError: there is none, or teacher or data are invalid.
    """
    rows = suite_content.candidates(request, setting)
    content = suite_content.suite(request, setting, rows, name=request.name, epochs=LONGEST, seeds=request.seeds)
    loaded = load_mapping(content)
    task_data.reports(loaded.suite)  # invalid data are reported before anything is written
    resolved = resolve(loaded, online=True, allow_empty_rows=True)
    reasons = {Candidate(cell.variant.label, cell.student): cell.reason for cell in resolved.cells}
    fitting = [row for row in rows if reasons[row] is None]
    for row in rows:
        if reasons[row] is not None:
            say(f"not compared: {row}: {reasons[row]}")
    if not fitting:
        raise UserError(Problem("no method can train a student of this teacher; the lines above say why", "--method"))
    return fitting


def _columns(tables: Sequence[Table]) -> dict[str, Sequence[Any]]:
    """The columns that all files of the data have, with the cells of the first file."""
    first = tables[0].columns
    return {name: cells for name, cells in first.items() if all(name in table.columns for table in tables)}


def _examples(request: Request) -> int:
    share = 1 - request.validation if isinstance(request.validation, float) else 1.0
    return math.ceil(share * sum(map(len, read_tables(request.data, request.files))))


def _best(store: Store, rows: Sequence[Candidate], request: Request, *, everything: bool) -> list[Candidate]:
    """The candidates of the next rung, the best first; in the last rung (`everything`) all within the limits."""
    summary = summarize(store)
    task = summary.plan.tasks[0]
    stored = {Candidate(c.row.label, c.row.student): c for c in best_students.candidates(summary, task)}
    trained = {row: stored[row] for row in rows if row in stored}
    if not trained:
        raise UserError(Problem("no candidate could be trained; the messages above say why", str(store.folder)))
    limits = Limits(parameters=request.max_parameters, seconds=request.max_seconds)
    within = [row for row, candidate in trained.items() if best_students.is_within(candidate, limits)]
    if not within:
        raise UserError(Problem(_nothing_within(trained.values(), request), str(store.folder)))
    held_out = {row: best_students.held_out_score(trained[row].runs) for row in within}
    scores = {row: math.nan if score is None else score for row, score in held_out.items()}
    if everything:
        return halving.ranked(scores, higher_is_better=task.higher_is_better)
    return halving.survivors(scores, higher_is_better=task.higher_is_better)


def _nothing_within(candidates: Iterable[best_students.Candidate], request: Request) -> str:
    candidates = list(candidates)
    found, options = [], []
    if request.max_parameters is not None:
        found.append(f"the smallest has {min(candidate.parameters for candidate in candidates):,} parameters")
        options.append("--max-params")
    if request.max_seconds is not None:
        slowest_machine = [max(latency.seconds for latency in c.latencies) for c in candidates if c.latencies]
        found.append(f"the fastest takes {min(slowest_machine, default=math.nan) * 1e3:.2f} ms for a text")
        options.append("--max-latency")
    return f"no student is within the limits: {', and '.join(found)}; raise {' or '.join(options)}"


def _export(request: Request, store: Store, row: Candidate, suite: Path, compared: str) -> Distilled:
    selected = exporting.best_of(store, None, Limits(label=row.method, student=row.student))
    facts = replace(selected, selected_by=_reason(request, selected, compared))
    exporting.write(facts, request.model, trust_remote_code=request.trust_remote_code)
    return Distilled(suite, store.folder, request.model, facts)


def _reason(request: Request, selected: CardFacts, compared: str) -> str:
    """Why the row was selected, for its model card. `compared`: numbers of candidates and rungs."""
    from harness.export import explanation

    limits = explanation.within(Limits(parameters=request.max_parameters, seconds=request.max_seconds))
    score = best_students.held_out_score(selected.row.runs) if selected.row else None
    value = "an undefined score" if score is None else f"{score:.4f}"
    return (
        f"`harness distill` compared {compared}{limits}. Each rung kept the best by {selected.task.score} on held-out"
        f" training examples, where {selected.record.label} on {selected.record.student} has {value} in the last one."
    )


def _comment(number: int, count: int) -> str:
    lines = [f"Written by `harness distill`: rung {number} of {count}. Run it again with `harness run`."]
    if number > 1:
        lines.append(
            f"Its rows are the best third of rung {number - 1} by the score on held-out training examples (successive"
            " halving)."
        )
    return "\n".join(lines)


def summary_lines(distilled: Distilled) -> list[str]:
    """The student's score, how much of the teacher's score it keeps, the speed-up, and where the model is."""
    from harness.export import explanation

    facts = distilled.facts
    record = facts.run.record
    row = facts.row
    lines = list(explanation.against_teacher(facts.summary, row, facts.task)) if row else []
    score = explanation.scored(row.score) if row else record.score
    return [
        f"{record.label} on {record.student}: {facts.task.score} {score}",
        *lines,
        f"The model is in {distilled.model}, the board in {distilled.results / 'leaderboard.md'}.",
    ]
