"""The check of data augmentation: a method with one mistake fails it, a proper one passes on every kind of task."""

import random
from typing import ClassVar

import pytest

from harness import FIRST_TEACHER, Augmentation, Method, MethodConfig, Needs, Stage
from harness.api.losses import task_loss
from harness.testing import conformance
from harness.testing.conformance import run_checks

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]


def doubled(rows, model, files):
    for row in rows:
        yield row
        yield {**row, "id": f"{row['id']}~1"}


class Doubles(Method):
    name = "doubles"
    make = staticmethod(doubled)
    request: ClassVar[dict] = {}

    def augmentation(self):
        return Augmentation(self.make, **self.request)

    def stages(self):
        return [Stage("only", Needs(["logits"]))]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


@pytest.fixture(autouse=True)
def only_this_check(monkeypatch):
    chosen = [check for check in conformance.checks() if check.name in ("stages", "augmentation")]
    monkeypatch.setattr(conformance, "checks", lambda: chosen)


def result(method, kinds=("classification",)):
    results = [result for result in run_checks(method, {}, kinds) if result.check == "augmentation"]
    return [(result.status, result.detail) for result in results]


def test_an_augmentation_without_a_language_model_passes_on_every_kind():
    assert result(Doubles, KINDS) == [("passed", "8 rows of 4")] * len(KINDS)


def test_an_augmentation_with_a_language_model_passes():
    def make(rows, model, files):
        mask = model.tokenizer.mask_token_id
        ids = [model.tokenizer(row["text"])["input_ids"] for row in rows]
        masked = [[sequence[0], mask, *sequence[2:]] for sequence in ids]
        found = {
            i: int(row.argmax())
            for at, logits in model.predict(masked, [1] * 4)
            for i, row in zip(at, logits, strict=True)
        }
        return [{**row, "text": model.tokenizer.decode([found[i]])} for i, row in enumerate(rows)]

    method = type("Predicts", (Doubles,), {"make": staticmethod(make), "request": {"model": FIRST_TEACHER}})
    assert result(method) == [("passed", "4 rows of 4")]


def test_a_method_without_augmentation_has_no_such_result():
    class Plain(Doubles):
        def augmentation(self):
            return None

    assert result(Plain) == []


def drops_a_column(rows, model, files):
    return [{"id": row["id"], "text": row["text"]} for row in rows]


def repeats_ids(rows, model, files):
    return [row for row in rows for _ in range(2)]


def changes_rows(rows, model, files):
    for row in rows:
        row["text"] = ""
        yield row


def draws(rows, model, files):
    return [{**row, "text": row["text"] * random.randrange(10**6)} for row in list(rows)[:1]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (drops_a_column, "make() returns a row with the columns id, text; those of the data are id, label, text"),
        (repeats_ids, "make() returns several rows with the id 'row-0'"),
        (changes_rows, "make() changes the original rows in place"),
        (draws, "make() returns other rows on another call"),
        (lambda rows, model, files: [], "make() returns no rows"),
        (lambda rows, model, files: ["row"], "make() returns a str; expected a mapping"),
        (
            lambda rows, model, files: model.predict([], []),
            "it has no language model, because `Augmentation.model` is None",
        ),
    ],
)
def test_rows_with_a_mistake_fail(make, words):
    ((status, detail),) = result(type("Wrong", (Doubles,), {"make": staticmethod(make)}))
    assert status == "failed"
    assert words in detail


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"options": {"seed": {1, 2}}}, "failed", "the options of the Augmentation are not plain values"),
        ({"option": "augment.model"}, "failed", "names the option 'augment.model', which the method does not have"),
        ({"files": ["no/such/file"]}, "n/a", "it reads no/such/file, which does not exist here"),
    ],
)
def test_a_request_with_a_mistake(request_, status, words):
    ((actual, detail),) = result(type("Wrong", (Doubles,), {"request": request_}))
    assert actual == status
    assert words in detail


def test_the_request_must_not_depend_on_the_seed_or_the_student():
    class BySeed(Doubles):
        def augmentation(self):
            return Augmentation(doubled, options={"seed": self.seed})

    ((status, detail),) = result(BySeed)
    assert (status, "depends on the student or the seed" in detail) == ("failed", True)


def test_an_option_that_names_the_model_is_accepted():
    class Named(Doubles):
        class Config(MethodConfig):
            model: str = "some/model"

        def augmentation(self):
            return Augmentation(doubled, model=self.config.model, option="model")

    assert result(Named) == [("passed", "8 rows of 4")]
    assert Named.augmentation(type("Bound", (), {"config": Named.Config()})).remedy == "set `model: hub id or folder`"
