"""A store with all that a page can show: a failed run, errors with their texts, losses, hostile names."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.api.events import LossPoint
from harness.storage.store import Store
from tests.support.results_factory import (
    SCORES,
    SQUAD,
    SST2,
    answers,
    failed,
    plan,
    run_key,
    run_record,
    teacher_record,
)

HOSTILE = "</script><script>window.hurt=1</script><!-- <img src=x onerror=window.hurt=1> & \"quoted\" 'q'"


def losses(seed, steps=6):
    return [
        LossPoint(
            stage="distill" if step <= steps // 2 else "finetune",
            step=10 * step,
            lr=1e-4 / step,
            terms={"loss": 2.0 / (step + seed), "kd": 1.0 / step},
        )
        for step in range(1, steps + 1)
    ]


def scored(task, key, score, examples=100):
    """As `answers`, with what stands behind each prediction."""
    frame = answers(task, key, score, examples)
    sure = 1 + np.arange(examples) / examples
    if task == "squad":
        return frame.assign(scores=[[float(s), 0.0] for s in sure])
    return frame.assign(scores=[[-s, s] if p else [s, -s] for s, p in zip(sure, frame["prediction"], strict=True)])


def texts(task, text, examples=100):
    ids = [str(number) for number in range(examples)]
    frame = pd.DataFrame({"split": "validation", "id": ids})
    if task == "squad":
        return frame.assign(question=[f"which {n}? {text}" for n in ids], context=f"a green one. {text}")
    return frame.assign(text=[f"sentence {n} {text}" for n in ids])


def page_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Id -> what the page shows of a run: row, task, seed and score from index.html, the rest from its file."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    runs = {}
    for cell in json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["cells"]:
        details = read_details(folder / "details" / f"{cell['file']}.js")
        for id, seed, score, *_ in cell["runs"]:
            known = {"row": cell["row"], "task": cell["task"], "seed": seed, "score": score, "texts": details["texts"]}
            runs[id] = known | details["runs"][id]
    return runs


def read_details(path: Path) -> dict[str, Any]:
    """The JSON in a file of details, which is a call with two strings."""
    name, text = re.fullmatch(r"details\('([0-9a-f]{16})','(.*)'\);\n", path.read_text(encoding="utf-8")).groups()
    assert name == path.stem
    return json.loads(re.sub(r"\\(.)", r"\1", text))


def made(folder: Path, *, text: str = "", seeds: int = 3, with_texts: bool = True, examples: int = 100) -> Store:
    """The demo suite, done but for one run that failed."""
    store = Store(folder)
    tasks = (SST2.model_copy(update={"labels": ["bad", "good"]}), SQUAD)
    planned = plan(tasks, seeds=seeds)
    store.save_plan(planned)
    for task in planned.tasks:
        record = teacher_record(task.name, losses=losses(0))
        store.save_teacher(record, scored(task.name, record.key, record.score, examples))
        if with_texts:
            store.save_examples(record.data_fingerprint, lambda name=task.name: texts(name, text, examples))
    for run in planned.runs:
        scores = SCORES[run.task, run.label, run.student]
        score = scores[(run.seed - 1) % len(scores)]
        record = run_record(run.task, run.label, run.student, run.seed, score, losses=losses(run.seed))
        if run.key == run_key("squad", "kd", "small", seeds):
            store.save(failed("squad", "kd", "small", seeds, f"RuntimeError: {text or 'out of memory'}"))
        else:
            store.save(record, scored(run.task, run.key, score, examples))
    return store
