"""Tokenized tasks, each made once for every tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.execution import augmented_data
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.planning.jobs import AugmentationJob
from harness.training.batch_stream import TokenizedTask, encode_task, encode_with_other_tokenizer


class TokenizedTasks:
    """Tokenizes tasks on first use. Only the last task stays in memory: tasks are executed one after another."""

    def __init__(self) -> None:
        self._task = ""
        self._tokenized: dict[tuple[str | int, ...], TokenizedTask] = {}

    def of(
        self,
        data: TaskData,
        tokenizers: Sequence[TokenizerRef],
        max_length: int,
        augmented: AugmentationJob | None = None,
    ) -> list[TokenizedTask]:
        """Tokenize a task with each of `tokenizers`.

        The first one defines the rows, of at most `max_length` tokens. The others tokenize the same training rows.
        `augmented` replaces the task's own training data.
        """
        if data.task.name != self._task:
            self._task, self._tokenized = data.task.name, {}
        first = tokenizers[0]
        places = any(tokenizer.fingerprint != first.fingerprint for tokenizer in tokenizers)
        key = (first.fingerprint, max_length, places, augmented.key if augmented else "")

        def make() -> TokenizedTask:
            splits = replace(data.splits, train=augmented_data.load(augmented)) if augmented else data.splits
            fingerprints = {
                f"validation/{name}": f"{data.validation_fingerprint}/{name}" for name in data.splits.validation
            }
            if data.selection_fingerprint is not None:
                fingerprints["selection"] = data.selection_fingerprint
            return encode_task(
                data.task,
                splits,
                first.tokenizer,
                first.fingerprint,
                max_length,
                places=places,
                fingerprints={"train": train, **fingerprints},
            )

        train = augmented_data.about(augmented).fingerprint if augmented else data.train_fingerprint
        base = self._once(key, make)
        return [self._with_tokenizer(base, tokenizer, key, f"{train}/{max_length}") for tokenizer in tokenizers]

    def _with_tokenizer(
        self, base: TokenizedTask, tokenizer: TokenizerRef, key: tuple[str | int, ...], fingerprint: str
    ) -> TokenizedTask:
        name = tokenizer.encoding_id(base.tokenizer_id)
        if name == base.tokenizer_id:
            return base

        def make() -> TokenizedTask:
            return encode_with_other_tokenizer(base, tokenizer.tokenizer, name, tokenizer.most, fingerprint=fingerprint)

        return self._once((*key, name), make)

    def _once(self, key: tuple[str | int, ...], make: Callable[[], TokenizedTask]) -> TokenizedTask:
        if key not in self._tokenized:
            self._tokenized[key] = make()
        return self._tokenized[key]
