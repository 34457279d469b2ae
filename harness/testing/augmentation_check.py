"""The check of data augmentation, on a few rows and with a tiny masked language model."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.api.batch import TaskKind
from harness.api.errors import UserError, describe
from harness.api.method import Augmentation, Method, Row
from harness.models.initialization import seeded
from harness.models.masked_lm import MaskedLM
from harness.resolution.request_options import options_of
from harness.testing.method_cases import CLASSES, CheckFailed, CheckNotApplicable, Subject
from harness.testing.term_evaluation import bind
from harness.testing.tiny_models import tiny_model

WORDS = ("the", "old", "new", "film", "book", "was", "is", "very", "good", "bad", "slow", "funny", "and", "story")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
SENTENCES = ("the old film was very good", "the new book is slow", "a funny story and good", "bad")
MOST_ROWS = 1000


def has_augmentation(subject: Subject) -> bool:
    """Whether the method augments data of this kind of task, with these options."""
    return subject.kind != "text" and subject.cases[0].bind().augmentation() is not None


def augmentation(subject: Subject) -> str:
    """The rows have the columns of the data and unique ids, and depend on the options only."""
    method, other = subject.cases[0].bind(), _with_other_student(subject)
    request = method.augmentation()
    assert request is not None  # `has_augmentation` has found one
    _check_request(method, request)
    if other is not None and _plain(other) != _plain(method):
        raise CheckFailed("augmentation() depends on the student or the seed; many runs share the augmented data")
    first, second = _made(subject.kind, request, 0), _made(subject.kind, request, 1)
    if first != second:
        raise CheckFailed("make() returns other rows on another call; draw random numbers from a seed in its options")
    return f"{len(first)} rows of {len(SENTENCES)}"


def _with_other_student(subject: Subject) -> Method | None:
    """The method with another seed and another student; None if it refuses that student."""
    case = subject.cases[0]
    student, _ = subject.sizes
    layers = 1 if student.layers > 1 else 2
    model = tiny_model(kind=subject.kind, num_labels=CLASSES, layers=layers, hidden=16, ffn=32)
    teachers = [teacher.model for teacher in case.teachers]
    try:
        return bind(subject.method, subject.options, subject.kind, model, teachers, seed=7)
    except UserError:
        return None


def _check_request(method: Method, request: Augmentation) -> None:
    try:
        json.dumps(options_of(request, method.config))
    except TypeError as error:
        raise CheckFailed(f"the options of the Augmentation are not plain values: {error}") from error
    if request.option is not None and request.option.partition(".")[0] not in type(method.config).model_fields:
        raise CheckFailed(f"the Augmentation names the option {request.option!r}, which the method does not have")
    if missing := [file for file in request.files if not Path(file).is_file()]:
        raise CheckNotApplicable(f"it reads {missing[0]}, which does not exist here")


def _plain(method: Method) -> tuple[Any, ...] | None:
    request = method.augmentation()
    return None if request is None else (options_of(request, method.config), request.model, tuple(request.files))


def _made(kind: TaskKind, request: Augmentation, seed: int) -> list[Row]:
    """The rows that the method makes of a few examples, under another global random state for each `seed`."""
    originals = rows(kind)
    given: Sequence[Row] = copy.deepcopy(originals)
    model = None if request.model is None else language_model()
    made: list[Row] = []
    try:
        with seeded(seed):
            for row in request.make(given, model, [Path(file) for file in request.files]):
                made.append(row)
                if len(made) > MOST_ROWS:
                    raise CheckFailed(f"make() returns more than {MOST_ROWS} rows for {len(originals)} examples")
    except CheckFailed:
        raise
    except Exception as error:
        hint = "; it has no language model, because `Augmentation.model` is None" if model is None else ""
        raise CheckFailed(f"make() failed: {describe(error)}{hint}") from error
    if given != originals:
        raise CheckFailed("make() changes the original rows in place")
    _check_rows(made, originals[0].keys())
    return made


def _check_rows(made: Sequence[Row], columns: Any) -> None:
    if not made:
        raise CheckFailed("make() returns no rows")
    for row in made:
        if not isinstance(row, Mapping):
            raise CheckFailed(f"make() returns a {type(row).__name__}; expected a mapping of columns to values")
        if row.keys() != columns:
            found, expected = ", ".join(sorted(row)), ", ".join(sorted(columns))
            raise CheckFailed(f"make() returns a row with the columns {found}; those of the data are {expected}")
    ids = [row["id"] for row in made]
    if duplicates := {name for name in ids if ids.count(name) > 1}:
        raise CheckFailed(f"make() returns several rows with the id {min(map(str, duplicates))!r}")


def rows(kind: TaskKind) -> list[Row]:
    """A few examples, with the columns of `harness.api.task.Splits`."""
    return [{"id": f"row-{i}", **_columns(kind, i, sentence)} for i, sentence in enumerate(SENTENCES)]


def _columns(kind: TaskKind, i: int, sentence: str) -> dict[str, Any]:
    words = sentence.split()
    if kind == "qa":
        return {"question": "what ?", "context": sentence, "answers": [{"text": words[0], "start": 0}]}
    if kind == "token_classification":
        return {"tokens": words, "tags": [(i + j) % CLASSES for j in range(len(words))]}
    label = {"regression": 0.5 * i, "multilabel": sorted({i % CLASSES, 0})}.get(kind, i % CLASSES)
    return {"text": sentence, "label": label}


@functools.cache
def language_model() -> MaskedLM:
    """A tiny random masked language model with a tokenizer of whole words."""
    vocabulary = [*SPECIAL, *WORDS, *(chr(letter) for letter in range(ord("a"), ord("z") + 1))]
    ids = {word: i for i, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    names = {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    return MaskedLM(tiny_model(kind="text", vocab=len(vocabulary), hidden=16, ffn=32), fast)
