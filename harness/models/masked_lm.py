"""A masked language model that is asked what may stand at one place of a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.api.errors import UserError
from harness.models import checkpoint_inspection, families, tokenizers
from harness.models.pretrained import config_in
from harness.models.quiet_transformers import quiet_transformers
from harness.tasks.batching import eval_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 128
"""Sentences of a forward pass; one place of each is asked, so the logits are small."""


class MaskedLM:
    """The model, in eval mode and float32 on its device, and the tokenizer it reads with."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = BATCH) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.longest = families.most_tokens(model.config) or 512
        """Tokens of the longest sequence it can read, special ones and all."""

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    @property
    def embeddings(self) -> Tensor:
        """Its input embeddings, [V, E]."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight.detach()

    def predict(self, sequences: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """What may stand at one place of each sequence: (numbers of sequences, logits [numbers, V]), batch by batch.

        The sequences hold their special tokens, and at its place each the mask token. Sequences of like lengths share a
        batch, so they do not come back in their order.
        """
        for numbers in eval_batches([len(sequence) for sequence in sequences], self.batch_size):
            longest = max(len(sequences[number]) for number in numbers)
            ids = torch.full((len(numbers), longest), int(self.tokenizer.pad_token_id))
            mask = torch.zeros_like(ids)
            for row, number in enumerate(numbers):
                length = len(sequences[number])
                ids[row, :length] = torch.tensor(sequences[number])
                mask[row, :length] = 1
            yield numbers, self._logits(ids, mask, torch.tensor([places[number] for number in numbers]))

    @torch.no_grad()
    def _logits(self, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """Of one place of each row: the last layer, which is as wide as the vocabulary, sees no other."""
        rows, columns = torch.arange(len(places), device=self.device), places.to(self.device)

        def at_places(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
            return (inputs[0][rows, columns],)

        hook = self.model.get_output_embeddings().register_forward_pre_hook(at_places)
        try:
            out = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        finally:
            hook.remove()
        logits: Tensor = out.logits
        return logits


def load(path: Path, device: torch.device, *, remedy: str, trust_remote_code: bool = False) -> MaskedLM:
    """The masked language model in the folder `path`.

    Raises:
        UserError: the folder holds none, or one whose last layers were never trained: those of an encoder alone, or of
            one that was fine-tuned. The message ends with the `remedy`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForMaskedLM

    tokenizer = tokenizers.load(path, trust_remote_code=trust_remote_code)
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise UserError(f"{path}: its tokenizer has no mask token, so it is no masked language model; {remedy}")
    try:
        with quiet_transformers():
            model, info = AutoModelForMaskedLM.from_pretrained(
                path,
                config=config_in(path, trust_remote_code=trust_remote_code),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        message = next(iter(str(error).splitlines()), "")
        raise UserError(f"{path}: cannot load a masked language model from this folder: {message}; {remedy}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{path} holds no trained masked language model: {len(missing)} of its tensors are missing, the first"
            f" {missing[0]!r}; {remedy}"
        )
    if extra := checkpoint_inspection.unexpected(info["unexpected_keys"], model):
        raise UserError(f"{path}: {checkpoint_inspection.unexpected_message(extra, model.config)}; {remedy}")
    if too_many := checkpoint_inspection.excess_tokens(tokenizer, model.get_input_embeddings().weight.shape[0]):
        raise UserError(f"{path}: {too_many}")
    return MaskedLM(model.to(device), tokenizer)
