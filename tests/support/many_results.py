"""Stores of thousands of made-up runs with predictions, to measure how a report scales."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from harness.api.events import LossPoint
from harness.metrics.squad_matching import match
from harness.storage.plan_file import PlanFile, PlannedRun, PlannedTask
from harness.storage.store import Store
from tests.support.results_factory import run_record, teacher_record

KINDS = {
    "cola": ("classification", "matthews_correlation", 2),
    "sst2": ("classification", "accuracy", 2),
    "mrpc": ("classification", "f1", 2),
    "stsb": ("regression", "pearson", 1),
    "mnli": ("classification", "accuracy", 3),
    "qnli": ("classification", "accuracy", 2),
    "rte": ("classification", "accuracy", 2),
    "squad": ("qa", "f1", 0),
}
"""Task -> kind, metric, number of classes."""

PARTS: dict[str, Any] = {
    "student": {"layers": 3, "hidden": 384, "heads": 12, "ffn": 1536, "family": "bert", "init": "uniform"},
    "data": {"train": "3389c4a6516d5b72", "tokenizer": "1abbc9eebb45f072", "max_length": 64},
    "training": {
        "epochs": 3.0,
        "batch_size": 32,
        "batching": "grouped",
        "lr": 0.0003,
        "schedule": "linear",
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
    },
    "numeric": {"device": "cpu", "precision": "fp32", "teacher_tensors": "fresh", "threads": 1},
}
"""The rest of a record's `parts`."""

WORDS = np.array(["the", "of", "red", "green", "blue", "house", "garden", "river", "small", "old", "new", "on", "very"])


@dataclass(frozen=True)
class Shape:
    """Numbers of labels, students and seeds of a suite of 8 tasks, and of examples and logged losses of a run."""

    labels: int
    students: int
    seeds: int
    examples: int = 1000
    losses: int = 40

    @property
    def runs(self) -> int:
        return len(KINDS) * self.labels * self.students * self.seeds


def write_many(folder: Path, shape: Shape) -> Store:
    """Write a store of a suite in which every run is completed."""
    store, planned = Store(folder), _plan(shape)
    tasks = {task.name: _Task(task, number, shape.examples) for number, task in enumerate(planned.tasks)}
    with mock.patch.object(os, "fsync"):  # syncing takes longer than everything else
        store.save_plan(planned)
        for task in tasks.values():
            frame = task.answers(np.random.default_rng(task.number), 0.95)
            score, metrics = task.score(frame)
            record = teacher_record(task.name, score, metrics=metrics, losses=list(_losses(0.95, shape.losses)))
            store.save_teacher(record, frame)
            store.save_examples(record.data_fingerprint, lambda task=task: task.texts)
        for number, run in enumerate(planned.runs):
            task, generator = tasks[run.task], np.random.default_rng(number)
            skill = 0.6 + 0.3 * planned.labels.index(run.label) / shape.labels + generator.normal(0, 0.01)
            frame = task.answers(generator, skill)
            score, metrics = task.score(frame)
            parts = {"method": {"name": run.method, "config": {"temperature": 2.0}}, "seed": run.seed, **PARTS}
            record = run_record(
                run.task, run.label, "big", run.seed, score, key=run.key, method=run.method, metrics=metrics,
                parts=parts, losses=list(_losses(skill, shape.losses)),
            )  # fmt: skip
            parameters = 4_000_000 * (1 + planned.students.index(run.student))
            sizes = record.size.model_copy(update={"parameters": parameters})
            record = record.model_copy(update={"student": run.student, "size": sizes})
            store.save(record, frame)
    return store


def _plan(shape: Shape) -> PlanFile:
    tasks = [
        PlannedTask(name=name, kind=kind, score=score, synthetic=False, percent=kind == "qa", labels=_names(classes))
        for name, (kind, score, classes) in KINDS.items()
    ]
    labels = [f"method-alpha={n / 10}" for n in range(shape.labels)]
    students, seeds = [f"student{n}" for n in range(shape.students)], list(range(1, shape.seeds + 1))
    cells = [(t.name, la, st, seed) for t in tasks for la in labels for st in students for seed in seeds]
    runs = [
        PlannedRun(
            key=f"{number:016x}", task=task, label=label, method="method", student=student, seed=seed, teachers=["base"]
        )
        for number, (task, label, student, seed) in enumerate(cells)
    ]
    return PlanFile(
        suite="many",
        command="harness run many.yaml",
        tasks=tasks,
        students=students,
        labels=labels,
        teachers={"base": {task.name: f"base-{task.name}" for task in tasks}},
        seeds=seeds,
        runs=runs,
        not_applicable=[],
    )


def _names(classes: int) -> list[str]:
    return [f"class {n}" for n in range(classes)] if classes > 1 else []


def _losses(skill: float, count: int) -> Iterator[LossPoint]:
    for step in range(1, count + 1):
        loss = (1.1 - skill) * (1 + 20 / step)
        yield LossPoint(
            stage="distill", step=50 * step, lr=1e-4 / step, terms={"loss": loss, "kd": loss / 3, "ce": 1.0}
        )


class _Task:
    """The examples of a task, and predictions on them."""

    def __init__(self, task: PlannedTask, number: int, examples: int) -> None:
        self.name, self.number, self.kind = task.name, number, task.kind
        _, self.metric, self.classes = KINDS[task.name]
        generator = np.random.default_rng(number)
        self.frame = pd.DataFrame({"id": [str(n) for n in range(examples)]})
        words = [" ".join(generator.choice(WORDS, 30)) for _ in range(examples)]
        self.texts = pd.DataFrame({"split": "validation", "id": self.frame["id"], "text": words})
        if self.kind == "qa":
            self.labels = [[" ".join(text.split()[3:6]), text.split()[3]] for text in words]
            self.texts = self.texts.rename(columns={"text": "context"}).assign(question="What is it?")
        elif self.kind == "regression":
            self.labels = generator.uniform(0, 5, examples).round(3)
        else:
            self.labels = generator.integers(self.classes, size=examples)

    def answers(self, generator: np.random.Generator, skill: float) -> pd.DataFrame:
        """The predictions of a model that is right on about `skill` of the examples."""
        count = len(self.frame)
        right = generator.random(count) < skill
        if self.kind == "qa":
            wrong = generator.choice(WORDS, count)
            texts = [a[0] if ok else w for a, ok, w in zip(self.labels, right, wrong.tolist(), strict=True)]
            scores = [[s, 0.0] for s in generator.normal(0, 2, count).round(6).tolist()]
            return self.frame.assign(prediction=texts, scores=scores, label=self.labels, split="validation")
        if self.kind == "regression":
            values = (self.labels + generator.normal(0, 5 * (1.1 - skill), count)).round(6)
            return self.frame.assign(
                prediction=values, scores=[[v] for v in values.tolist()], label=self.labels, split="validation"
            )
        logits = generator.normal(0, 1, (count, self.classes))
        predicted = np.where(right, self.labels, (self.labels + 1) % self.classes)
        logits[np.arange(count), predicted] = logits.max(axis=1) + 0.5
        return self.frame.assign(
            prediction=predicted, scores=logits.round(6).tolist(), label=self.labels, split="validation"
        )

    def score(self, frame: pd.DataFrame) -> tuple[float, dict[str, float]]:
        """The score of predictions, and the metrics of the record."""
        if self.kind == "qa":
            pairs = [match(text, answers) for text, answers in zip(frame["prediction"], frame["label"], strict=True)]
            exact, f1 = (100 * float(np.mean(column)) for column in zip(*pairs, strict=True))
            return f1, {"exact": exact, "f1": f1}
        predicted, actual = frame["prediction"].to_numpy(), frame["label"].to_numpy()
        value = {
            "accuracy": lambda: (predicted == actual).mean(),
            "f1": lambda: 2 * (predicted & actual).sum() / (predicted.sum() + actual.sum()),
            "matthews_correlation": lambda: np.corrcoef(predicted, actual)[0, 1],
            "pearson": lambda: np.corrcoef(predicted, actual)[0, 1],
        }[self.metric]()
        return float(value), {self.metric: float(value)}
