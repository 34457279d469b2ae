"""The model card of an exported student: README.md with the hub's metadata."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

from harness.analysis import citations
from harness.analysis.best_students import Candidate, Choice, Limits
from harness.analysis.model_latency import ModelLatency, model_latencies
from harness.analysis.speed_up import milliseconds
from harness.analysis.summary import Summary
from harness.api.wording import counted
from harness.export import explanation, metric_values, usage_code
from harness.export.model_folder import ModelFiles
from harness.storage.plan_file import PlannedTask
from harness.storage.records import RunRecord, TeacherRecord
from harness.storage.run_lookup import StoredRun

PIPELINES = {
    "classification": "text-classification",
    "multilabel": "text-classification",
    "regression": "text-classification",
    "qa": "question-answering",
    "token_classification": "token-classification",
}
"""Kind of the head -> pipeline of transformers."""

HARNESS_CITATION = "@software{kd_harness, title = {kd-harness}, author = {The kd-harness authors}, version = {VERSION}}"

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class CardFacts:
    """What a model card is made from.

    Attributes:
        run: the exported run.
        task: its task.
        row: its row of the board; None if that is incomplete.
        choice: why it was selected; None if the user named the run.
        limits: the limits of the selection.
        selected_by: why its row was selected; empty: by its score on the board.
    """

    summary: Summary
    run: StoredRun
    task: PlannedTask
    row: Candidate | None = None
    choice: Choice | None = None
    limits: Limits = field(default_factory=Limits)
    selected_by: str = ""

    @property
    def record(self) -> RunRecord:
        return self.run.record

    @property
    def teachers(self) -> dict[str, TeacherRecord]:
        """Name of a teacher of the run -> its record, of the run's seed if there is one per seed."""
        results = {result.key: result for result in self.summary.results}
        key_of = partial(self.summary.plan.teacher_key, task=self.task.name, seed=self.record.seed)
        found = {name: results.get(key_of(name) or "") for name in self.record.teachers}
        return {name: teacher for name, teacher in found.items() if isinstance(teacher, TeacherRecord)}

    @property
    def assistants(self) -> dict[str, RunRecord]:
        """The teachers of the run, and of those that taught it, that are students of other runs of the suite.

        Name of the teacher -> record of the run whose student it is; the nearest first.
        """
        runs = {result.key: result for result in self.summary.results if isinstance(result, RunRecord)}
        found: dict[str, RunRecord] = {}
        waiting = [self.record]
        while waiting:
            taught = waiting.pop(0).assistants
            added = {name: runs[key] for name, key in taught.items() if key in runs and name not in found}
            found |= added
            waiting += added.values()
        return found

    @property
    def latencies(self) -> list[ModelLatency]:
        """Its measured latencies, in every backend."""
        settings = self.summary.plan.latency
        backends = settings.backends if settings else []
        return [
            one
            for backend in backends
            for one in model_latencies(self.summary, self.record.student, backends=[backend])
        ]


def text(facts: CardFacts, files: ModelFiles) -> str:
    """The text of README.md."""
    sections = [
        f"# {facts.record.label} student for {facts.task.name}",
        " ".join(_introduction(facts)),
        "## Use",
        *_usage(facts, files),
        "## Scores",
        *_scores(facts),
        "## Why this model",
        _items(_reasons(facts)),
        *_latency(facts),
        "## Training",
        _items(_training(facts)),
        *_onnx(files),
        "## Citation",
        f"```bibtex\n{_bibtex(facts)}\n```",
    ]
    return f"---\n{_metadata(facts, files)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _reasons(facts: CardFacts) -> Iterator[str]:
    if facts.choice is None:
        yield "It was named by its key."
    elif facts.selected_by:
        yield facts.selected_by
        yield explanation.of_seeds(facts.choice)
    else:
        yield from explanation.why(facts.summary, facts.choice, facts.limits)
    if facts.row:
        yield from explanation.against_teacher(facts.summary, facts.row, facts.task)


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _metadata(facts: CardFacts, files: ModelFiles) -> str:
    """The YAML header. The section `kd_harness` tells `harness predict` how the model reads texts."""
    from huggingface_hub import EvalResult, ModelCardData

    record, model = facts.record, files.model
    hub_ids = [teacher.model for teacher in facts.teachers.values() if _HUB_ID.fullmatch(teacher.model)]
    pipeline = PIPELINES[model.kind]
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=facts.task.name,
            dataset_name=facts.task.name,
            dataset_split="validation",
            metric_type=name,
            metric_value=value,
        )
        for name, value in record.metrics.items()
        if math.isfinite(value)
    ]
    usage: dict[str, Any] = {"task": facts.task.name, "kind": model.kind, "max_length": model.max_length}
    if model.paired is not None:
        usage["paired"] = model.paired
    if model.kind == "qa":
        usage["unanswerable"] = model.unanswerable
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=hub_ids or None,
        tags=["knowledge-distillation" if record.teachers else "fine-tuning", "kd-harness", record.method],
        model_name=f"{facts.summary.plan.suite}-{facts.task.name}-{record.label}-{record.student}",
        eval_results=results or None,
        kd_harness=usage,
    )
    return str(data.to_yaml()).strip()


def _introduction(facts: CardFacts) -> Iterator[str]:
    record, task = facts.record, facts.task
    size = record.model_size
    shape = (
        f"{counted(size.layers, 'layer')} of width {size.hidden}, {explanation.millions(size.parameters)} parameters"
    )
    taught = {name: _origin(teacher) for name, teacher in facts.teachers.items()}
    taught |= {name: _assistant(run) for name, run in facts.assistants.items() if name in record.teachers}
    if taught:
        names = " and ".join(f"`{name}` ({taught[name]})" for name in dict.fromkeys(record.teachers) if name in taught)
        yield f"An encoder with {shape}, distilled with the method `{record.method}` from {names}."
    else:
        yield f"An encoder with {shape}, trained with the method `{record.method}`, without a teacher."
    yield f"It solves the task `{task.name}` ({task.kind})."
    if task.labels:
        yield f"Its classes are {', '.join(f'`{name}`' for name in task.labels)}."
    if task.synthetic:
        yield "**The task is generated: its scores say nothing about natural language.**"
    if facts.summary.plan.limits:
        limits = ", ".join(f"{count:,} of {split}" for split, count in facts.summary.plan.limits.items())
        yield f"**It was trained or scored on a part of the data ({limits} examples).**"
    if repeated := explanation.overlap(task):
        yield f"**Note that {repeated}.**"


def _usage(facts: CardFacts, files: ModelFiles) -> Iterator[str]:
    model = files.model
    yield f"```python\n{usage_code.of(model, PIPELINES[model.kind])}```"
    yield (
        f"The model was trained on texts of up to {model.max_length} tokens, the `model_max_length` of the tokenizer;"
        " longer texts are truncated to it. tokenizer.json truncates by itself when it is used without transformers."
    )
    if model.kind in ("qa", "token_classification"):
        yield "`harness predict` splits longer texts into overlapping windows instead, so that nothing is left out."


def _scores(facts: CardFacts) -> Iterator[str]:
    record, task = facts.record, facts.task
    examples = task.data.examples if task.data else {}
    on = ", ".join(f"{count:,} examples of {split}" for split, count in examples.items()) or "the validation split"
    lines = ["| score | value |", "|:--|--:|"]
    for name, value in metric_values.printed(facts.summary, task, record):
        lines.append(f"| {name}, this model | {value} |")
    if facts.row:
        count = len(facts.row.runs)
        seeds = f"mean of {count} seeds" if count > 1 else "the row"
        lines.append(f"| {facts.task.score}, {seeds} of {facts.row.name} | {explanation.scored(facts.row.score)} |")
    for row in facts.summary.teachers:
        if score := row.cells[facts.task.name].score:
            lines.append(f"| {facts.task.score}, teacher {row.label} | {explanation.scored(score)} |")
    yield "\n".join(lines)
    over = facts.row.score.over if facts.row else None
    intervals = f" Brackets are 95 % intervals over {over}." if over else ""
    if not record.metrics:
        yield "The labels of the examples are hidden, so there is no score."
    else:
        yield f"{metric_values.scales(task, record)} {on}, {_untrained(facts)}.{intervals}{_selected_on(record)}"


def _untrained(facts: CardFacts) -> str:
    """What was not trained on the scored examples. The score of a teacher is on the card whether it taught or not."""
    if explanation.overlap(facts.task):
        return "some of which have texts of the training split"
    teachers = [result for result in facts.summary.results if isinstance(result, TeacherRecord)]
    if all(teacher.finetune for teacher in teachers if teacher.task == facts.task.name):
        return "on which nothing was trained"
    return "on which this model was not trained; of a teacher that was fine-tuned before, this is not known"


def _selected_on(record: RunRecord) -> str:
    """A warning if the scored examples were also selected on."""
    selection = record.selection
    if selection is None or selection.on != "validation" or not (selection.epochs or record.tuning):
        return ""
    return " **The epoch or the options were selected on the same examples, so the scores are likely to be too high.**"


def _assistant(run: RunRecord) -> str:
    return f"the student {run.student} of the row {run.label} of this suite"


def _origin(teacher: TeacherRecord) -> str:
    """The hub id of a teacher, or the name of its folder: a card is published, and a path may not be."""
    model = teacher.model
    return model if _HUB_ID.fullmatch(model) or "/" not in model else f"a local checkpoint, {PurePath(model).name}"


def _latency(facts: CardFacts) -> Iterator[str]:
    measured = facts.latencies
    if not measured:
        return
    lines = ["| what | median (ms) | p90 (ms) | speed-up |", "|:--|--:|--:|--:|"]
    for one in measured:
        p90 = milliseconds(one.p90) if one.p90 is not None else "–"
        ratio = f"{one.speed_up.median:.1f}× {one.reference}"
        lines.append(f"| {one.where} | {milliseconds(one.seconds)} | {p90} | {ratio} |")
    yield "## Latency"
    yield "\n".join(lines)
    yield "Measured on a model of this shape; tokenization is not included."


def _training(facts: CardFacts) -> Iterator[str]:
    record, plan = facts.record, facts.summary.plan
    yield f"Suite `{plan.suite}`, run `{record.key}`, seed {record.seed}."
    row = plan.rows.get(record.label)
    if row and row.options:
        yield f"Options of {record.method}: `{json.dumps(row.options)}`."
    training = record.parts.get("training")
    if isinstance(training, dict):
        yield f"Training: `{json.dumps(training)}`, maximum length {facts.run.max_length}."
    data = record.parts.get("data")
    if isinstance(data, dict):
        yield f"Data: fingerprint `{data.get('train')}` (training), `{record.data_fingerprint}` (scored examples)."
    for name, teacher in facts.teachers.items():
        yield f"Teacher `{name}`: {_origin(teacher)}, key `{teacher.key}`."
    for name, run in facts.assistants.items():
        sources = f", which learned from {' and '.join(run.teachers)}" if run.teachers else ""
        yield f"Teacher `{name}`: {_assistant(run)}, run `{run.key}`, seed {run.seed}{sources}."
    hardware, packages = record.provenance.hardware, record.provenance.packages
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    yield f"Hardware: {hardware.device}, {hardware.name}. Packages: {versions}."
    if record.provenance.git_commit:
        yield f"Commit of the harness: `{record.provenance.git_commit}`."


def _onnx(files: ModelFiles) -> Iterator[str]:
    if not files.onnx:
        return
    lines = []
    for file in files.onnx:
        line = f"`{file.path}`: its outputs differ from PyTorch by at most {file.deviation:.1e}"
        if file.agreement is not None:
            line += f"; {100 * file.agreement:.1f} % of {file.examples} validation examples have the same prediction"
        lines.append(f"{line}.")
    yield "## ONNX"
    yield _items(lines)
    yield "Inputs: those of the tokenizer, int64 [batch, tokens], both dynamic. Outputs have the names of transformers."


def _bibtex(facts: CardFacts) -> str:
    bibtex = facts.summary.plan.citations.get(facts.record.method)
    entries = citations.bibtex(citations.entries({facts.record.method: bibtex})) if bibtex else ""
    version = facts.record.provenance.packages.get("harness", "")
    return "\n\n".join(filter(None, [entries, HARNESS_CITATION.replace("VERSION", version)]))
