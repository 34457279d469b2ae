"""Define the data and tokenizers that jobs use, and load them when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.task import Splits, Task
from harness.storage.plan_file import DataReport
from harness.tasks.fingerprints import fingerprint, fingerprint_of_parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizerRef:
    """A tokenizer, identified by the fingerprint of its behaviour, and loaded when it is needed.

    Attributes:
        load: loads it.
        size: the number of its tokens.
        has_mask: whether it has a mask token.
        most: the maximum sequence length of its model in tokens, None if there is no limit.
    """

    fingerprint: str
    load: Callable[[], PreTrainedTokenizerBase] = field(repr=False, compare=False)
    size: int
    has_mask: bool
    most: int | None = None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.load()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the tokenizer instead of the function that loads it."""
        return _loaded(self, tokenizer=self.tokenizer)

    def encoding_id(self, tokenizer: str) -> str:
        """Return an id of how this tokenizer encodes rows that are split by the tokenizer with fingerprint `tokenizer`.

        It is `tokenizer` itself if both are the same. Otherwise the rows are aligned, and the id has the length limit.
        """
        return tokenizer if tokenizer == self.fingerprint else f"{self.fingerprint}/{self.most}"


@dataclass(frozen=True)
class TaskData:
    """A task's examples, as limited by the suite, which are loaded when they are needed, and their fingerprints.

    Attributes:
        load: loads them.
        train_examples: the number of training examples.
        report: the numbers of other examples.
        selection_fingerprint: identifies the examples that select the best epoch or tuned values: a held-out split or
            the validation splits. None: nothing is selected.
        forget: called if the examples are not those that the plan was made for, so that the next plan examines them.
        is_of_plugin: whether a plugin defines the task that is not part of kd-harness.
    """

    task: Task
    load: Callable[[], Splits] = field(repr=False, compare=False)
    train_fingerprint: str
    validation_fingerprint: str
    train_examples: int
    report: DataReport
    selection_fingerprint: str | None = None
    forget: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    is_of_plugin: bool = False

    @cached_property
    def splits(self) -> Splits:
        """The examples. Raises `UserError` if they are not those that the plan was made for."""
        splits = self.load()
        found = fingerprint(splits.train), fingerprint_of_parts(splits.validation)
        if found != (self.train_fingerprint, self.validation_fingerprint):
            if self.forget is not None:
                self.forget()
            message = f"the data of task {self.task.name!r} have changed since the plan was made; run the command again"
            raise UserError(message)
        return splits

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the examples instead of the functions that load and check them."""
        return _loaded(self, splits=self.splits, forget=None)


def _loaded(instance: Any, **values: Any) -> dict[str, Any]:
    """The state of an instance with `values`, and without the function that would load them."""
    return {**vars(instance), **values, "load": None}


def task_info(task: Task, examples: int = 0) -> TaskInfo:
    """Return the description of a task that methods receive. `examples`: see `TaskInfo`."""
    return TaskInfo(task.name, task.kind, task.num_labels, examples)
