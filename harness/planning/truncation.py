"""Count the texts that are truncated: those with more tokens than `max_length`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from harness.storage.derived_values import derived
from harness.storage.frozen_model import FrozenModel
from harness.storage.plan_file import TruncatedTexts
from harness.tasks.features import sentence_columns
from harness.tasks.tokenization import WINDOWS

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.planning.job_inputs import TaskData, TokenizerRef
    from harness.planning.jobs import RunJob

SAMPLE = 2000
"""Number of examples of a split that are tokenized; of a larger split, a random sample."""


class TokenCounts(FrozenModel):
    """Numbers of tokens of the examples of some splits."""

    lengths: dict[str, list[int]] = Field(description="split -> number of tokens of each examined example")


def truncated_texts(runs: Iterable[RunJob]) -> dict[str, list[TruncatedTexts]]:
    """Return task -> what is truncated of its texts, for each tokenizer of its students.

    Tasks whose long texts are split into windows are left out: nothing of these is truncated.
    """
    students: dict[tuple[str, str], dict[str, None]] = {}
    jobs: dict[tuple[str, str], RunJob] = {}
    for run in runs:
        if run.cell.task.kind not in WINDOWS:
            tokenization = run.planned.task, run.tokenizer_ref.fingerprint
            students.setdefault(tokenization, {})[run.planned.student] = None
            jobs.setdefault(tokenization, run)
    found: dict[str, list[TruncatedTexts]] = {}
    for (task, fingerprint), run in jobs.items():
        entry = _truncated(run.data, run.tokenizer_ref, run.training.max_length, [*students[task, fingerprint]])
        found.setdefault(task, []).append(entry)
    return found


def _truncated(data: TaskData, tokenizer: TokenizerRef, max_length: int, students: Sequence[str]) -> TruncatedTexts:
    inputs = {
        "train": data.train_fingerprint,
        "validation": data.validation_fingerprint,
        "tokenizer": tokenizer.fingerprint,
        "sample": SAMPLE,
    }
    counts = derived("token_counts", inputs, TokenCounts, lambda: _token_counts(data, tokenizer))
    return TruncatedTexts(
        students=list(students),
        max_length=max_length,
        examined={split: len(lengths) for split, lengths in counts.lengths.items()},
        longer={split: sum(length > max_length for length in lengths) for split, lengths in counts.lengths.items()},
    )


def _token_counts(data: TaskData, tokenizer: TokenizerRef) -> TokenCounts:
    splits = {"train": data.splits.train, **data.splits.validation}
    return TokenCounts(lengths={name: list(_lengths(split, data, tokenizer)) for name, split in splits.items()})


def _lengths(split: Dataset, data: TaskData, tokenizer: TokenizerRef) -> Iterator[int]:
    """Yield the number of tokens, with special tokens, of up to `SAMPLE` examples."""
    if len(split) > SAMPLE:
        split = split.select(np.sort(np.random.default_rng(0).choice(len(split), SAMPLE, replace=False)))
    texts = [split[column][:] for column in sentence_columns(data.task.kind, split)]
    if len(split):
        yield from map(len, tokenizer.tokenizer(*texts, verbose=False)["input_ids"])
