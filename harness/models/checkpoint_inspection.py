"""Checks of a checkpoint's config, weights and tokenizer, for which only the headers of the weights are read.

The model of config.json is built without memory (on torch's meta device), and its tensors are compared by name and
shape with those of the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.api.errors import Problem, UserError
from harness.models import families, pretrained, tokenizers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Shape = tuple[int, ...]

HARMLESS = re.compile(r"(^|\.)(position_ids|token_type_ids|pooler)($|\.)")
"""Buffers that older versions of transformers saved, and poolers, which many heads do without."""

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Names in checkpoints converted from TensorFlow, which transformers renames."""


@dataclass(frozen=True)
class Inspected:
    """`problems` say what is wrong; `reader` is the fingerprint of the tokenizer, None where none can be loaded."""

    problems: tuple[str, ...]
    reader: str | None = None


_inspected: dict[tuple[object, ...], Inspected] = {}


def inspect(folder: Path, *, trust_remote_code: bool = False) -> Inspected:
    """Config, weights and tokenizer of the checkpoint in `folder`. Remembered while its files stay the same."""
    files = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()))
    key = (folder.resolve(), files, trust_remote_code)
    if key not in _inspected:
        _inspected[key] = _inspect(folder, trust_remote_code)
    return _inspected[key]


def refuse(folder: Path, key: str, *, trust_remote_code: bool = False) -> None:
    """Raise `UserError` with all that is wrong with the checkpoint in `folder`, which the suite names at `key`."""
    if problems := inspect(folder, trust_remote_code=trust_remote_code).problems:
        raise UserError(*(Problem(problem, key) for problem in problems))


def of_encoder(name: str, model: PreTrainedModel) -> bool:
    """Whether a tensor of a file is of the encoder, and not of a head: by its prefix, by the part that it is in, or
    since it is of a numbered layer."""
    own = name.removeprefix(f"{model.base_model_prefix}.")
    parts = {part for part, _ in model.base_model.named_children()}
    return own != name or own.split(".")[0] in parts or _LAYER.search(name) is not None


def unexpected(names: Iterable[str], model: PreTrainedModel) -> list[str]:
    """Those of the file's tensors that the model has no place for, and that are neither harmless nor another task's
    head. To leave them out changes what the encoder computes."""
    return sorted(name for name in names if of_encoder(name, model) and not HARMLESS.search(name))


def unexpected_message(names: Collection[str], config: PretrainedConfig) -> str:
    """What is wrong with weights that hold such tensors."""
    layers = {int(found[1]) for found in map(_LAYER.search, names) if found}
    depth = getattr(config, families.LAYERS, None)
    hint = f"; num_hidden_layers is {depth}, and the weights have {max(layers) + 1} layers" if layers else ""
    return (
        f"the weights do not fit {pretrained.CONFIG}: it has no place for {_count(len(names))} of the encoder,"
        f" {_some(names)}{hint}"
    )


def excess_tokens(tokenizer: PreTrainedTokenizerBase, rows: int) -> str | None:
    """What is wrong where a tokenizer has tokens beyond the `rows` of an embedding."""
    count = max(tokenizer.get_vocab().values(), default=0) + 1
    if count <= rows:
        return None
    return (
        f"the tokenizer has {count} tokens, and the embedding has {rows} rows; call"
        f" model.resize_token_embeddings({count}) and save the model again, or remove the tokens added to the tokenizer"
    )


def _inspect(folder: Path, trust_remote_code: bool) -> Inspected:
    try:
        config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
        families.shape(config, str(folder))
        tokenizer = tokenizers.load(folder, trust_remote_code=trust_remote_code)
        stored = stored_shapes(folder)
        model = _without_memory(config, folder, trust_remote_code)
    except UserError as error:
        return Inspected(tuple(problem.message for problem in error.problems))
    problems = [*_weights(stored, model)] if model is not None else []
    rows = _embedding_rows(stored, model) or config.vocab_size
    if too_many := excess_tokens(tokenizer, rows):
        problems.append(too_many)
    messages = tuple(f"{folder}: {problem}" for problem in problems)
    return Inspected(messages, tokenizers.fingerprint(tokenizer))


def stored_shapes(folder: Path) -> dict[str, Shape]:
    """Names and shapes of all tensors in the folder's weights. Raises `UserError` where there are none, or some that
    cannot be read."""
    files = _weight_files(folder)
    if not files:
        names = ", ".join(kind[0] for kind in pretrained.WEIGHT_FILES)
        raise UserError(f"{folder} holds no weights ({names}); add them to the folder")
    found: dict[str, Shape] = {}
    for file in files:
        found |= _shapes_in(file)
    return {_current(name): shape for name, shape in found.items()}


def _weight_files(folder: Path) -> list[Path]:
    """Of the preferred kind: those that an index names, or the only one. Raises `UserError` for one that is missing."""
    for pattern, index_pattern in pretrained.WEIGHT_FILES:
        indices = sorted(folder.glob(index_pattern))
        if indices:
            try:
                names = set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise UserError(f"{indices[0]} cannot be read: {error}") from error
            missing = sorted(name for name in names if not (folder / name).is_file())
            if missing:
                raise UserError(f"{folder}: {indices[0].name} names {missing[0]}, which is not there")
            return sorted(folder / name for name in names)
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _shapes_in(file: Path) -> dict[str, Shape]:
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as header:
                return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
        weights = torch.load(file, map_location="meta", weights_only=True)
        return {name: tuple(tensor.shape) for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{file} cannot be read: {reason}; download or save it again") from error


def _current(name: str) -> str:
    for old, new in _LEGACY.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _without_memory(config: PretrainedConfig, folder: Path, trust_remote_code: bool) -> PreTrainedModel | None:
    """The encoder of the configuration on the meta device; None where it cannot be built there, though it may be
    elsewhere. Raises `UserError` for numbers of which no model can be built."""
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
        return model
    except NotImplementedError:
        return None
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{folder / pretrained.CONFIG}: no model can be built from it: {reason}") from error


def _weights(stored: Mapping[str, Shape], model: PreTrainedModel) -> Iterable[str]:
    """How the weights differ from the model's."""
    prefix = f"{model.base_model_prefix}."
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    own = {name.removeprefix(prefix): shape for name, shape in stored.items()}
    ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    extra = [
        name
        for name in unexpected(stored, model)
        if name.removeprefix(prefix) not in expected and not any(pattern.search(name) for pattern in ignored)
    ]
    missing = sorted(name for name in expected.keys() - own.keys() if not HARMLESS.search(name))
    if extra and len(extra) == len(missing):
        return  # they may be renamed as they are read: that tells
    if extra:
        yield unexpected_message(extra, model.config)
    if missing:
        yield (
            f"the weights do not fit {pretrained.CONFIG}: {_count(len(missing))} of the encoder are missing,"
            f" {_some(missing)}"
        )
    shared = sorted(expected.keys() & own.keys())
    different = [name for name in shared if expected[name] != own[name] and not HARMLESS.search(name)]
    if different:
        first = different[0]
        yield (
            f"the weights do not fit {pretrained.CONFIG}: {_count(len(different))} of the encoder have another size,"
            f" the first {first}: {list(own[first])} in the file, {list(expected[first])} by {pretrained.CONFIG}"
        )


def _embedding_rows(stored: Mapping[str, Shape], model: PreTrainedModel | None) -> int | None:
    """Rows of the token embedding in the file."""
    if model is None:
        return None
    weight = model.get_input_embeddings().weight
    name = next((name for name, parameter in model.named_parameters() if parameter is weight), None)
    found = stored.get(f"{model.base_model_prefix}.{name}") or stored.get(str(name))
    return found[0] if found else None


def _count(number: int) -> str:
    return "1 tensor" if number == 1 else f"{number} tensors"


def _some(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    first = sorted(names)[:3]
    rest = len(names) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")
