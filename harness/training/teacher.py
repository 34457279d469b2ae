"""Teachers of a cohort: frozen models whose outputs on a batch all runs of the cohort share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs
from harness.config.training_schema import TrainingSpec
from harness.models.capture import Capture
from harness.training import micro_batching, precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TeacherSource(Protocol):
    """Gives a teacher's outputs: a model (`Teacher`), or cached outputs (`CachedTeacher`)."""

    @property
    def tokenizer_id(self) -> str:
        """Which of the stream's tokenizations the teacher takes."""

    @property
    def passes(self) -> int:
        """Forward passes of a model per batch."""

    def forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec) -> ModelOutputs:
        """The outputs named in `needs`, on the batch's device, without gradients."""


class Teacher:
    """A frozen model in eval mode. `tokenizer_id` says which of the stream's tokenizations it takes."""

    passes = 1

    def __init__(self, name: str, model: PreTrainedModel, tokenizer_id: str, device: torch.device) -> None:
        self.name = name
        self.tokenizer_id = tokenizer_id
        self.model = model.to(device).eval().requires_grad_(False)
        self.capture = Capture(model)

        self.micro_batch_size: int | None = None
        """Examples per forward pass, once a whole batch has not fitted in memory; None: all."""

    def forward(
        self, batch: Batch, needs: frozenset[str], training: TrainingSpec, *, can_split: bool = True
    ) -> ModelOutputs:
        """The outputs of the whole batch, computed in micro-batches if it does not fit in memory.

        Raises:
            InsufficientMemory: memory does not suffice for one example, or for the batch if `can_split` is false.
        """
        count = len(batch.ids)
        requested = min(count, self.micro_batch_size or count)
        retry = micro_batching.MemoryRetry(requested if can_split else count, can_split=can_split)
        try:
            for size in retry:
                with retry:
                    outputs = self._forward(batch, needs, training, size)
        except micro_batching.InsufficientMemory as error:
            examples = "one example" if can_split else f"{count} examples at once"
            raise micro_batching.InsufficientMemory(
                f"memory does not suffice for {examples} in teacher {self.name}: lower training.max_length, or set"
                f" training.precision to bf16 ({error})"
            ) from None
        if retry.size < requested:
            self.micro_batch_size = retry.size
        return outputs

    def _forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec, size: int) -> ModelOutputs:
        """The outputs of the batch, from forward passes over at most `size` examples."""
        count, device = len(batch.ids), batch.labels.device
        parts = [batch] if size >= count else [batch.part(rows) for rows in micro_batching.slices(count, size)]
        # no_grad, not inference_mode: inference tensors cannot take part in a loss.
        with torch.no_grad(), precision.autocast(training, device), precision.matmuls(training, device):
            return ModelOutputs.joined(
                [self.capture.run(part.inputs, needs, answer_mask=part.answer_mask) for part in parts]
            )
