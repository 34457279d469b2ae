"""A small results folder with everything that a report reads, and seeded damage to its files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from harness.storage import checksums
from harness.storage.plan_file import (
    EncoderShape,
    NotApplicable,
    PlannedGeneral,
    PlannedRow,
    PlannedRun,
    PlannedStudy,
    PlannedTask,
    PlannedTuning,
    PublishedFigure,
)
from harness.storage.records import GeneralRecord, SelectionRecord, TuningSummary
from harness.storage.store import Store
from harness.storage.tuning_records import Trial, TuningRecord
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.page_factory import losses, scored, texts
from tests.support.results_factory import SQUAD, SST2, cost, plan, provenance, run_key, run_record, size, teacher_record

EXAMPLES = 12

STSB = PlannedTask(name="stsb", kind="regression", score="pearson", synthetic=False)
TASKS = (SST2.model_copy(update={"labels": ["bad", "good"]}), SQUAD, STSB)
ROWS = {
    "finetune": PlannedRow(method="finetune", entry=0, plain=True, options={}, teachers=[]),
    "kd-a": PlannedRow(method="kd", entry=1, plain=False, options={"alpha": 0.1}, teachers=["base"]),
    "kd-b": PlannedRow(method="kd", entry=1, plain=False, options={"alpha": 0.9}, teachers=["base"]),
}
STUDENTS = {"big": 8, "small": 4}
"""Student -> attention heads."""

SEEDS = (1, 2)
APPLICABLE = {
    "sst2": {("finetune", "big"), ("kd-a", "big"), ("kd-b", "big"), ("kd-a", "small")},
    "squad": {("finetune", "big"), ("kd-a", "big")},
    "stsb": {("finetune", "big"), ("kd-a", "big")},
}
"""Task -> the rows (label, student) that have runs on it."""

STUDY = "study-sst2-kd-a-big"


def whole(folder: Path) -> Store:
    """Save a suite of three tasks, two students, three rows and two seeds, with latency, tuning and a text stage."""
    store = Store(folder)
    store.save_plan(_plan())
    for number, task in enumerate(TASKS):
        frame, score = _predictions(task, f"base-{task.name}", 10)
        record = teacher_record(task.name, score, metrics={task.score: score}, losses=losses(number))
        store.save_teacher(record, frame)
        store.save_examples(record.data_fingerprint, lambda task=task: _texts(task))
    for number, run in enumerate(store.plan().runs):
        frame, score = _predictions(next(t for t in TASKS if t.name == run.task), run.key, 5 + number % 5)
        tuning = None
        if (run.task, run.label, run.student) == ("sst2", "kd-a", "big"):
            tuning = TuningSummary(study=STUDY, trials=2, values={"alpha": 0.3}, score=0.7, seconds=20.0)
        selection = SelectionRecord(on="train", share=0.1, seed=1, examples=10, fingerprint="held-out")
        record = run_record(
            run.task, run.label, run.student, run.seed, score,
            method=run.method, metrics={_metric(run.task): score}, losses=losses(run.seed), tuning=tuning,
            selection=selection, notes={"mapping": [1, 2]}, teachers=run.teachers,
        )  # fmt: skip
        if number == 1:
            record = record.model_copy(update={"status": "failed", "score": None, "metrics": {}, "error": "no memory"})
        store.save(record, None if number == 1 else frame)
    store.save_latency(latency_record())
    store.save_tuning(_tuning())
    store.save_general(_general(), lambda path: path.mkdir())
    return store


def _metric(task: str) -> str:
    return next(planned.score for planned in TASKS if planned.name == task)


def _plan() -> Any:
    runs = [
        PlannedRun(
            key=run_key(task.name, label, student, seed), task=task.name, label=label, method=row.method,
            student=student, seed=seed, teachers=row.teachers,
        )
        for task in TASKS for label, row in ROWS.items() for student in STUDENTS for seed in SEEDS
        if (label, student) in APPLICABLE[task.name]
    ]  # fmt: skip
    figure = PublishedFigure(
        task="sst2", label="kd-a", student="big", values=[91.0], metrics=["accuracy"], model="KD", teacher="BERT",
        source="paper", title="A paper", url="https://example.org", split="dev", where="table 1, dev",
    )  # fmt: skip
    studies = [
        PlannedStudy(key=STUDY if (task.name, label, student) == ("sst2", "kd-a", "big") else None, task=task.name,
                     label=label, student=student)
        for task in TASKS for label in ROWS for student in STUDENTS
    ]  # fmt: skip
    return plan(
        TASKS,
        labels=list(ROWS),
        seeds=2,
        na=[
            NotApplicable(task=task.name, label=label, student=student, reason="left out")
            for task in TASKS
            for label in ROWS
            for student in STUDENTS
            if (label, student) not in APPLICABLE[task.name]
        ],
        runs=runs,
        rows=ROWS,
        shapes={name: EncoderShape(layers=4, hidden=128, heads=heads, ffn=512) for name, heads in STUDENTS.items()},
        published=[figure],
        latency=SETTINGS,
        tuning=PlannedTuning(trials=2, seed=1, on="train", studies=studies),
        generals=[PlannedGeneral(key="text", labels=["kd-b"], student="big", data="wiki", steps=10)],
        citations={"kd": "@article{kd, title={KD}}"},
    )


def _tuning() -> TuningRecord:
    trials = [Trial(number=n, values={"alpha": 0.1 + n / 5}, score=0.6 + n / 10, steps=5, seconds=10.0) for n in (0, 1)]
    return TuningRecord(
        key=STUDY, task="sst2", method="kd", label="kd-a", student="big", seed=1, metric="accuracy",
        data_fingerprint="held-out", space={"alpha": [0.1, 0.3]}, trials=trials, parts={}, provenance=provenance(),
    )  # fmt: skip


def _general() -> GeneralRecord:
    return GeneralRecord(
        key="text", method="kd", label="kd-b", student="big", seed=1, parts={}, losses=losses(1), cost=cost(5),
        size=size("big"), provenance=provenance(),
    )  # fmt: skip


def _predictions(task: PlannedTask, key: str, right: int) -> tuple[pd.DataFrame, float]:
    """Predictions of `EXAMPLES` examples, of which `right` are right, and their score."""
    if task.kind == "regression":
        labels = np.arange(EXAMPLES) / 2.0
        predicted = labels + np.random.default_rng(right).normal(size=EXAMPLES)
        frame = pd.DataFrame({"id": [str(n) for n in range(EXAMPLES)], "prediction": predicted, "label": labels})
        score = float(np.corrcoef(predicted, labels)[0, 1])
        return frame.assign(scores=[[float(value)] for value in predicted], split="validation"), score
    score = right / EXAMPLES * (100 if task.percent else 1)
    return scored(task.name, key, score, EXAMPLES), score


def _texts(task: PlannedTask) -> pd.DataFrame:
    return texts(task.name, "words", EXAMPLES)


def damage(folder: Path, rng: random.Random, outside: Path) -> str:
    """Damage one file or folder below `folder`; return what was done. Links lead to `outside`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    weight = {"plan.json": 20, "runs": 3, "teachers": 10, "latency": 20, "tuning": 20, "general": 10, "examples": 5}
    weights = [weight.get(file.relative_to(folder).parts[0], 1) for file in files]
    path = rng.choices(files, weights)[0]
    ways: list[Callable[[Path, random.Random, Path], str]] = [damage_file]
    if path.suffix == ".json":
        ways += [damage_json] * 6
    if path.suffix == ".parquet":
        ways += [damage_table] * 6
    try:
        done = rng.choice(ways)(path, rng, outside)
    except (ValueError, RecursionError, pa.ArrowException):  # it is damaged already
        done = damage_file(path, rng, outside)
    return f"{path.relative_to(folder)}: {done}"


def damage_file(path: Path, rng: random.Random, outside: Path) -> str:
    """Damage the file as a whole, or its folder."""
    content, in_subfolder = path.read_bytes(), path.parent.parent != outside.parent
    ways = ["delete", "truncate", "flip", "empty", "folder", "link", "dangling", "swap"]
    way = rng.choice([*ways, "folder link"] if in_subfolder else ways)
    if way == "truncate":
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif way == "flip" and content:
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ rng.randrange(1, 256)]) + content[at + 1 :])
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "folder link":
        shutil.rmtree(outside / "moved", ignore_errors=True)
        shutil.move(path.parent, outside / "moved")
        path.parent.symlink_to(outside / "moved")
    elif way == "swap":
        near = path.parent.parent if in_subfolder else path.parent
        others = sorted(other for other in near.rglob(f"*{path.suffix}") if other.is_file())
        other = rng.choice(others)
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return f"swap with {other}"
    else:
        path.unlink()
        if way == "folder":
            path.mkdir()
            (path / "file").write_text("in a folder")
        elif way == "link":
            (outside / path.name).write_bytes(content)
            path.symlink_to(outside / path.name)
        elif way == "dangling":
            path.symlink_to(outside / "nothing")
    return way


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**6, 10**18, 10**40, -(10**40), 0.5, -0.5, 1e-320, 1e308, float("nan"),
    float("inf"), -float("inf"), "NaN", "Infinity", "-Infinity", "", " ", "x", "a|b\n# c", "\ud800", "\x00", "é" * 5000,
    "../../outside", "/etc/passwd", "{}", [], [[]], [None], [1, "x"], {}, {"x": None}, {"": {"": []}},
)  # fmt: skip


def damage_json(path: Path, rng: random.Random, outside: Path) -> str:
    """Change one value of a JSON file, at any depth."""
    document = json.loads(path.read_text(encoding="utf-8"))
    places = list(_places(document))
    if not places:
        return "nothing to change"
    container, name = rng.choice(places)
    before = container[name]
    way = rng.choice(["odd", "same type", "same type", "same type", "delete", "like", "like", "repeat", "nest"])
    if way == "odd":
        container[name] = rng.choice(ODD)
    elif way == "same type":
        numbers = isinstance(before, int | float) and not isinstance(before, bool)
        wanted: type | UnionType = int | float if numbers else type(before)
        container[name] = rng.choice([value for value in ODD if isinstance(value, wanted)])
    elif way == "delete":
        del container[name]
    elif way == "like":  # the value of another place with the same type: valid for the schema, wrong in the context
        container[name] = deepcopy(rng.choice([c[n] for c, n in places if type(c[n]) is type(before)]))
    elif way == "repeat":
        container[name] = before * 2 if isinstance(before, list | str | int) else [before]
    else:
        container[name] = {str(name): before}
    text = json.dumps(document)
    if way == "nest" and rng.random() < 0.2:
        text = text.replace("[", "[" * 10_000, 1)
    path.write_text(text, encoding="utf-8")
    return f"{way} {name}: {before!s:.40} -> {container[name]!s:.40}" if way != "delete" else f"delete {name}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key or index) of every value in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        yield value, name
        yield from _places(child)


def damage_table(path: Path, rng: random.Random, outside: Path) -> str:
    """Change a column or the rows of a parquet file. Its checksum is renewed or removed, so that the file is read."""
    table = parquet.read_table(path)
    name = rng.choice(table.column_names)
    way = rng.choice(["drop", "rename", "cast", "cast", "value", "value", "value", "rows", "repeat", "shuffle"])
    if way == "drop":
        table = table.drop_columns([name])
    elif way == "rename":
        table = table.rename_columns([rng.choice(["x", "label", ""]) if n == name else n for n in table.column_names])
    elif way == "cast":
        kind, values = rng.choice(_COLUMNS)
        table = table.set_column(table.column_names.index(name), name, pa.array(values(len(table)), kind))
        way = f"cast to {kind}"
    elif way == "value":
        values = table[name].to_pylist()
        if values:
            values[rng.randrange(len(values))] = rng.choice(_ODD_VALUES)
        try:
            column = pa.array(values, table[name].type, from_pandas=False)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            column = pa.array([None] * len(values), table[name].type)
        table = table.set_column(table.column_names.index(name), name, column)
    elif way == "rows":
        table = table.slice(rng.randrange(len(table) + 1), rng.randrange(len(table) + 1))
    elif way == "repeat":
        table = pa.concat_tables([table, table])
    else:
        order = list(range(len(table)))
        rng.shuffle(order)
        table = table.take(order)
    parquet.write_table(table, path)
    sums = path.parent / checksums.NAME
    if sums.is_file() and rng.random() < 0.9:
        sums.unlink()
        checksums.seal(path.parent, path)
    elif sums.is_file():
        sums.unlink()
    return f"{way} {name}"


_COLUMNS: tuple[tuple[pa.DataType, Callable[[int], list[Any]]], ...] = (
    (pa.null(), lambda n: [None] * n),
    (pa.string(), lambda n: ["x"] * n),
    (pa.string(), lambda n: [str(i) for i in range(n)]),
    (pa.int64(), lambda n: list(range(n))),
    (pa.int64(), lambda n: [-1] * n),
    (pa.int64(), lambda n: [2**62] * n),
    (pa.uint64(), lambda n: [2**64 - 1] * n),
    (pa.float64(), lambda n: [i / 2 for i in range(n)]),
    (pa.float64(), lambda n: [float("nan")] * n),
    (pa.float32(), lambda n: [float("inf")] * n),
    (pa.bool_(), lambda n: [True] * n),
    (pa.binary(), lambda n: [b"\xff"] * n),
    (pa.list_(pa.float64()), lambda n: [[0.0] * (i % 3) for i in range(n)]),
    (pa.list_(pa.string()), lambda n: [[] for _ in range(n)]),
    (pa.list_(pa.list_(pa.string())), lambda n: [[["x"]]] * n),
    (pa.struct({"x": pa.int64()}), lambda n: [{"x": 1}] * n),
    (pa.timestamp("us"), lambda n: [0] * n),
)

_ODD_VALUES: tuple[Any, ...] = (
    None, -1, 10**6, 2**62, float("nan"), float("inf"), "", "x", "0", "é" * 3000, [], [None], ["x", None], [1.0],
    [1.0, float("nan")], [float("inf"), 0.0], [1.0, 2.0, 3.0], True,
)  # fmt: skip
