"""Work of a method before its stages on a task: `Cofinetuning` of teachers, a text stage (`General`), `Augmentation`.

It is done once, and shared by all runs for which it is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs
from harness.api.stages import Stage
from harness.api.step import LossTerms

if TYPE_CHECKING:  # takes seconds to import
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Cofinetuning:
    """Joint fine-tuning of a method's teachers on the task, before students learn from them.

    All encoders share one head, a pooling and a prediction layer of the first teacher's width; a teacher of another
    width has a linear map to it. The host trains them together with the first teacher's settings, stores them in the
    cache, scores each of them and shows it on the board under its own name.

    Attributes:
        losses: computes the terms of one step, whose sum is minimized, from the batches and the `ModelOutputs` (with
            `logits`) of all teachers. Teachers with equal tokenizers get the same `Batch`; a teacher with another
            tokenizer gets the same rows in its own tokens, with labels and `answer_mask` for these tokens.
        options: plain values that `losses` depends on; None: all options of the method. They are part of the teachers'
            keys, with the method's name and version, the teachers and the data. Rows share the teachers if these are
            equal, so name a subset, or ``{}``, for options that `losses` does not read.
    """

    losses: Callable[[Sequence[Batch], Sequence[ModelOutputs]], LossTerms]
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class General:
    """Distillation on unlabelled text before any task (text stage); its student and its modules initialize the runs of
    all tasks and seeds.

    Teacher and student are masked language models; the teacher is the pretrained checkpoint. The suite's `general` sets
    the text and the number of steps; without it there is no text stage. `Method.losses` is called with this stage and
    batches of kind ``text``, whose `labels` are the original tokens at masked positions.

    Attributes:
        stage: needs and name of the stage; the name must differ from the stages on a task. `logits` are over the
            vocabulary, [B, N, V].
        masking: share of tokens to mask; 80 % of them become [MASK], 10 % another token, 10 % stay unchanged (Devlin et
            al. 2019, section 3.1). 0: no masking.
        smoothing: 0: every token is masked with equal probability, at least one in each text. Above 0: the share of a
            batch's tokens is drawn without replacement, with weights count^-smoothing for a token's count in the text,
            so that rare tokens are masked more often (Sanh et al. 2019, authors' code: 0.7).
        options: plain values that `losses` and `modules` depend on in this stage; None: all options of the method. They
            are part of the key, with the method's name and version, the settings of the stage, the teacher, the student
            and the text. Rows share the stage if these are equal, so name a subset, or ``{}``, for options that neither
            of the two reads.
        assistant: the teacher first trains an assistant, which then teaches the student. The assistant has the
            student's sizes (``layers``, ``hidden``, ``heads``, ``ffn``) with these replacements.
    """

    stage: Stage
    masking: float = 0.0
    smoothing: float = 0.0
    options: Mapping[str, Any] | None = None
    assistant: Mapping[str, int] | None = None


Row = Mapping[str, Any]
"""A training example by column (see `harness.api.task.Splits`)."""


class MaskedLanguageModel(Protocol):
    """A masked language model for `Augmentation.make`, in eval mode and float32, on the suite's device."""

    tokenizer: PreTrainedTokenizerBase
    longest: int
    """The maximum sequence length, including special tokens."""

    @property
    def device(self) -> torch.device:
        """The device of the model."""

    @property
    def embeddings(self) -> Tensor:
        """The input embedding matrix, [V, E]."""

    def predict(self, sequences: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Predict the token at one position of each sequence. Yields (indices of sequences, logits [len(indices), V]).

        Sequences include special tokens, and the mask token at the position to predict (`places`). Sequences of similar
        length share a batch, so results are not in the order of the sequences.
        """


FIRST_TEACHER = "pretrained checkpoint of the first teacher"
"""`Augmentation.model`: the masked language model is the pretrained checkpoint of the method's first teacher."""


@dataclass(frozen=True)
class Augmentation:
    """A training set that a method generates from the task's own, before training and once for all runs that use it.

    The host loads the masked language model, if `make` uses one, stores the rows in the cache, and trains on them in
    place of the original rows for the same number of steps. Runs on augmented data see other batches, so they form
    their own cohort. Validation data do not change.

    Attributes:
        make: returns the new rows, in order, from the original rows, the language model (None without one) and
            `files`. Columns must be the same and ids unique. Called once and consumed row by row, so it may be a
            generator. Raises `UserError` for invalid files.
        options: plain values that `make` depends on; None: all options of the method. They are part of the key, with
            the method's name and version, the data, the model and the contents of the files. Rows share the data if
            these are equal, so name a subset, or ``{}``, for options that `make` does not read.
        model: hub id or folder of a masked language model; `FIRST_TEACHER`; or None: no language model is loaded.
        files: further files that `make` reads, as named in the suite.
        option: the option of the method that names the model, as a dotted path such as ``augment.model``, for error
            messages; None: no option does.
    """

    make: Callable[[Iterable[Row], Any, Sequence[Path]], Iterable[Row]]
    """Its second argument is a `MaskedLanguageModel`, or None if `model` is None."""
    options: Mapping[str, Any] | None = None
    model: str | None = None
    files: Sequence[str] = ()
    option: str | None = None

    @property
    def remedy(self) -> str:
        """The end of an error message about the model: how a suite names another one."""
        if self.option is None:
            return "the method has no option that names another model"
        *outer, last = self.option.split(".")
        value = f"{last}: hub id or folder"
        for name in reversed(outer):
            value = f"{name}: {{{value}}}"
        return f"set `{value}`"
