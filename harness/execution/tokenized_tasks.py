"""A task's examples as tokenizers read them, each reading made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.execution import augmented_data
from harness.planning.jobs import AugmentationJob, TaskData, TokenizerRef
from harness.training.batch_stream import TokenizedTask, encode_task, encode_with_other_tokenizer


class TokenizedTasks:
    """Tasks come one after another, so only the last one's readings are kept."""

    def __init__(self) -> None:
        self._task = ""
        self._kept: dict[tuple[str | int, ...], TokenizedTask] = {}

    def of(
        self, data: TaskData, readers: Sequence[TokenizerRef], max_length: int, augmented: AugmentationJob | None = None
    ) -> list[TokenizedTask]:
        """One for each reader: the first makes the rows, of at most `max_length` tokens; those with another tokenizer
        read the training rows along. `augmented` takes the place of the task's own training data."""
        if data.task.name != self._task:
            self._task, self._kept = data.task.name, {}
        first = readers[0]
        places = any(reader.fingerprint != first.fingerprint for reader in readers)
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
        own = self._once(key, make)
        return [self._beside(own, reader, key, f"{train}/{max_length}") for reader in readers]

    def _beside(
        self, own: TokenizedTask, reader: TokenizerRef, key: tuple[str | int, ...], shown: str
    ) -> TokenizedTask:
        name = reader.beside(own.tokenizer_id)
        if name == own.tokenizer_id:
            return own

        def make() -> TokenizedTask:
            return encode_with_other_tokenizer(own, reader.tokenizer, name, reader.most, fingerprint=shown)

        return self._once((*key, name), make)

    def _once(self, key: tuple[str | int, ...], make: Callable[[], TokenizedTask]) -> TokenizedTask:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
