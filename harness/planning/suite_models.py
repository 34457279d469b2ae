"""The checkpoints and tokenizers that a suite names. Each is located, validated and described once for a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.api.errors import Problem, UserError
from harness.api.task import Splits
from harness.models import checkpoint_inspection, families, pretrained, tokenizers
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.planning.jobs import TeacherJob
from harness.resolution.suite import Suite
from harness.tasks.features import text_columns, texts_of


class SuiteModels:
    """The models of one suite, and what a plan needs to know of them."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.trust = suite.spec.trust_remote_code
        self._paths: dict[str, Path] = {}
        self._checkpoints: dict[str, Path | None] = {}
        self._positions: dict[Path, int | None] = {}
        self._tokenizers: dict[Path, TokenizerRef] = {}
        self._whole_word: dict[str, tuple[Callable[[], Any], tokenizers.Description]] = {}

    def path(self, model: str) -> Path:
        """Return the folder of a hub id or folder; downloads it if needed."""
        if model not in self._paths:
            self._paths[model] = pretrained.locate(model, trust_remote_code=self.trust)
        return self._paths[model]

    def checkpoint(self, name: str) -> Path | None:
        """Return the validated checkpoint of a teacher or student, None if it has none."""
        if name not in self._checkpoints:
            self._checkpoints[name] = self._validated_checkpoint(name)
        return self._checkpoints[name]

    def _validated_checkpoint(self, name: str) -> Path | None:
        model = self.suite.models.get(name)
        if model is None:
            return None
        path = self.path(model)
        key = f"teachers.{name}.model" if name in self.suite.spec.teachers else f"students.{name}.init"
        checkpoint_inspection.raise_problems(path, key, trust_remote_code=self.trust)
        return path

    def tokenizer(self, checkpoint: Path) -> TokenizerRef:
        """Return the tokenizer of a checkpoint, which is loaded when it is used."""
        if checkpoint not in self._tokenizers:
            load = cache(partial(tokenizers.load, checkpoint, trust_remote_code=self.trust))
            found = tokenizers.describe_checkpoint(checkpoint, load, trust_remote_code=self.trust)
            ref = TokenizerRef(found.fingerprint, load, found.size, found.has_mask, found.most)
            self._tokenizers[checkpoint] = ref
        return self._tokenizers[checkpoint]

    def whole_word_tokenizer(self, data: TaskData, max_length: int) -> TokenizerRef:
        """Return the tokenizer that is built from the training texts for teachers without a checkpoint."""
        texts = data.train_fingerprint
        if texts not in self._whole_word:
            build = cache(lambda: tokenizers.whole_word(_training_texts(data.splits)))
            self._whole_word[texts] = build, tokenizers.describe_whole_word(texts, build)
        load, found = self._whole_word[texts]
        most = families.scratch_positions(max_length)
        return TokenizerRef(found.fingerprint, load, found.size, found.has_mask, most)

    def max_tokens_of_checkpoint(self, checkpoint: Path) -> int | None:
        """Return the maximum sequence length of a checkpoint in tokens, None if there is no limit."""
        if checkpoint not in self._positions:
            config = pretrained.config_in(checkpoint, trust_remote_code=self.trust)
            self._positions[checkpoint] = families.most_tokens(config)
        return self._positions[checkpoint]

    def max_tokens(self, teacher: TeacherJob) -> int | None:
        """Return the maximum sequence length of a teacher in tokens, None if there is no limit."""
        if teacher.run is not None:
            run = teacher.run
            if run.checkpoint is not None:
                return self.max_tokens_of_checkpoint(run.checkpoint)
            return self.max_tokens(run.source) if run.source else None
        if teacher.checkpoint is None:
            return families.scratch_positions(teacher.training.max_length)
        return self.max_tokens_of_checkpoint(teacher.checkpoint)


def check_max_length(tokens: int, where: str, name: str, most: int | None) -> None:
    """Raise `UserError` at the key `where` if `tokens` exceeds the model's maximum sequence length `most`."""
    if most is not None and tokens > most:
        raise UserError(Problem(f"it is {tokens}, but {name} reads at most {most} tokens; lower it", where))


def max_length_key(suite: Suite, task: str) -> str:
    """Return the suite's key that sets the task's `max_length`."""
    settings = suite.spec.training.per_task.get(task)
    return f"training.per_task.{task}.max_length" if settings and settings.max_length else "training.max_length"


def _training_texts(splits: Splits) -> Iterator[str]:
    """Yield all training texts, column by column."""
    for column in text_columns(splits.train):
        for batch in splits.train.select_columns([column]).iter(batch_size=1000):
            yield from texts_of(batch[column])
