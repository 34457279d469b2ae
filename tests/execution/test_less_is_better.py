"""A task of a plugin whose metric is an error, from the suite to the leaderboard: lower is better."""

import re

import pytest

from harness.analysis.aggregate import summarize
from harness.reporting import report

PLUGIN = '''
"""How bright a sentence is, scored by how far off one is; and a method that says one value of all of them."""

import random
from typing import Annotated

import numpy as np
from pydantic import Field

from harness import Method, MethodConfig, Needs, Search, Stage, hookimpl
from harness.api.task import Splits, Task

WORDS = "sun lamp fire night cave coal tree road hand song".split()


class Rmse:
    def compute(self, *, predictions, references):
        return {"rmse": float(np.sqrt(np.mean((np.array(predictions) - np.array(references)) ** 2)))}


def made(count, seed):
    from datasets import Dataset

    rng = random.Random(seed)
    rows = [rng.choices(WORDS, k=6) for _ in range(count)]
    labels = [float(row.count("sun") - row.count("night")) for row in rows]
    ids = [str(i) for i in range(count)]
    return Dataset.from_dict({"id": ids, "text": [" ".join(row) for row in rows], "label": labels})


class Config(MethodConfig):
    value: Annotated[float, Search(0, 6)] = Field(6.0, description="what it says")
    later: float | None = Field(None, description="what it says from the third epoch on")


class Says(Method):
    name = "says"
    Config = Config
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        first = step.epoch < 2 or self.config.later is None
        return {"said": (student.logits[:, 0] - (self.config.value if first else self.config.later)).square().mean()}


@hookimpl
def harness_register_tasks(register):
    def load(source):
        return Splits(made(120, 1), {"validation": made(40, 2)})

    register(Task("bright", "regression", load, ("rmse",), "rmse", higher_is_better=False, synthetic=True))


@hookimpl
def harness_register_metrics(register):
    register("rmse", Rmse)


@hookimpl
def harness_register_methods(register):
    register(Says)
'''
SUITE = (
    "plugins=[order.py, bright.py]",
    "tasks=[bright]",
    "methods=[{says: {label: far, value: 6}}, {says: {label: near, value: 0}}, "
    "{says: {label: spoilt, value: 0, later: 6}}, {says: {label: tuned}}]",
    "seeds=[1]",
    "selection={on: train, seed: 3}",
    "tuning={trials: 4, lr: null}",
    "training.epochs=4",
    "training.lr=1e-2",
)


@pytest.fixture
def bright(small):
    (small.folder / "bright.py").write_text(PLUGIN, encoding="utf-8")
    return small


def test_ranks_best_epochs_and_tuning_minimize_the_error(bright):
    assert not bright.run(*SUITE).failed
    store = bright.store()
    records = {record.label: record for record in store.records()}
    text = report(store.folder).markdown
    rows = {row.label: row for row in summarize(store).students}
    assert rows["near"].average.mean < rows["far"].average.mean
    assert rows["far"].rank == 4 > rows["near"].rank
    spoilt = records["spoilt"].selection
    assert spoilt.step < records["spoilt"].cost.steps
    assert next(p.score for p in spoilt.epochs if p.step == spoilt.step) == min(p.score for p in spoilt.epochs)
    assert records["spoilt"].parts["selection"]["better"] == "less"
    study = store.tuning(records["tuned"].tuning.study)
    assert study.chosen.score == min(trial.score for trial in study.trials) < study.default.score
    assert study.parts["tuning"]["better"] == "less"
    assert "Lower is better." in text
    assert rows["near"].average.mean == pytest.approx(records["near"].score)  # an error is no share: not times 100


def test_a_teacher_above_its_floor_fails(bright):
    (failure,) = bright.run(*SUITE, "teachers.base.floor={bright: 0.001}").failures
    assert re.search(r"where less is better, above its floor of 0.001.* or raise", failure.error)
    assert not bright.run(*SUITE, "teachers.base.floor={bright: 1000}", "methods=[finetune]", "tuning=null").failed
