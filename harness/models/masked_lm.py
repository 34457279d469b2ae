"""A masked language model that predicts the token at one position of each sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.api.errors import UserError, first_line
from harness.models import checkpoint_inspection, families, tokenizers
from harness.models.pretrained import config_in
from harness.models.quiet_transformers import quiet_transformers
from harness.storage.disk_errors import explained
from harness.tasks.batching import eval_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 128
"""Sequences per forward pass. Logits are computed at one position of each, so they are small."""


class MaskedLM:
    """A masked language model in eval mode and float32, with its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = BATCH) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.longest = families.most_tokens(model.config) or 512
        """The most tokens of a sequence, special tokens included."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.embeddings.device

    @property
    def embeddings(self) -> Tensor:
        """The input embeddings, [V, E]."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.detach()

    def predict(self, sequences: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Predict the token at one position of each sequence.

        Sequences have special tokens, and the mask token at their position in `places`. Yields batch by batch: indices
        of sequences, and logits [len(indices), V]. Sequences of similar lengths share a batch, so their order changes.
        """
        for indices in eval_batches([len(sequence) for sequence in sequences], self.batch_size):
            longest = max(len(sequences[index]) for index in indices)
            ids = torch.full((len(indices), longest), int(self.tokenizer.pad_token_id))
            mask = torch.zeros_like(ids)
            for row, index in enumerate(indices):
                length = len(sequences[index])
                ids[row, :length] = torch.tensor(sequences[index])
                mask[row, :length] = 1
            yield indices, self._logits(ids, mask, torch.tensor([places[index] for index in indices]))

    @torch.no_grad()
    def _logits(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Logits at one position of each row, [B, V]. The output layer runs on these positions only."""
        rows, columns = torch.arange(len(positions), device=self.device), positions.to(self.device)

        def select_positions(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
            return (inputs[0][rows, columns],)

        hook = self.model.get_output_embeddings().register_forward_pre_hook(select_positions)
        try:
            out = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        finally:
            hook.remove()
        logits: Tensor = out.logits
        return logits


def load(path: Path, device: torch.device, *, remedy: str, trust_remote_code: bool = False) -> MaskedLM:
    """Load the masked language model in the folder `path`.

    Raises:
        UserError: the folder holds no masked language model, or one without a trained output layer: a bare or a
            fine-tuned encoder. The message ends with `remedy`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForMaskedLM

    tokenizer = tokenizers.load(path, trust_remote_code=trust_remote_code)
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise UserError(f"{path}: its tokenizer has no mask token, so it is not a masked language model; {remedy}")
    try:
        with explained(path, can_be_missing=True), quiet_transformers():
            model, info = AutoModelForMaskedLM.from_pretrained(
                path,
                config=config_in(path, trust_remote_code=trust_remote_code),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        message = first_line(error)
        raise UserError(f"{path}: cannot load a masked language model from this folder: {message}; {remedy}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{path} holds no trained masked language model: {len(missing)} of its tensors are missing, the first"
            f" {missing[0]!r}; {remedy}"
        )
    if extra := checkpoint_inspection.unexpected_tensors(info["unexpected_keys"], model):
        raise UserError(f"{path}: {checkpoint_inspection.unexpected_message(extra, model.config)}; {remedy}")
    if too_many := checkpoint_inspection.excess_tokens(tokenizer, model.get_input_embeddings().weight.shape[0]):
        raise UserError(f"{path}: {too_many}")
    return MaskedLM(model.to(device), tokenizer)
