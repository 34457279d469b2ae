"""Checks a checkpoint's config, weights and tokenizer without loading the weights.

The model of config.json is built on torch's meta device, and its tensors are compared by name and shape with the
headers of the weight files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.api.errors import Problem, UserError, first_line
from harness.api.wording import counted
from harness.models import families, pretrained, tokenizers
from harness.storage.derived_values import derived
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Shape = tuple[int, ...]

IGNORED = re.compile(r"(^|\.)(position_ids|token_type_ids|pooler)($|\.)")
"""Tensors that may be missing or unexpected: buffers saved by old versions of transformers, and poolers."""

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Names in checkpoints converted from TensorFlow, and what transformers renames them to."""


class Inspection(FrozenModel):
    """The result of inspecting a checkpoint.

    Attributes:
        problems: one message for each problem.
        tokenizer_fingerprint: None if no tokenizer can be loaded.
    """

    problems: tuple[str, ...] = ()
    tokenizer_fingerprint: str | None = None


_inspections: dict[tuple[object, ...], Inspection] = {}


def inspect(folder: Path, *, trust_remote_code: bool = False) -> Inspection:
    """Inspect config, weights and tokenizer of the checkpoint in `folder`. Cached until a file changes."""
    files = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()))
    key = (folder.resolve(), files, trust_remote_code)
    if key not in _inspections:
        inputs = {"folder": str(folder)}
        listed = partial(pretrained.checkpoint_files, folder, trust_remote_code=trust_remote_code)
        inspected = partial(_inspect, folder, trust_remote_code)
        _inspections[key] = derived("inspections", inputs, Inspection, inspected, files=listed)
    return _inspections[key]


def raise_problems(folder: Path, key: str, *, trust_remote_code: bool = False) -> None:
    """Raise `UserError` with all problems of the checkpoint in `folder`, which the suite names at `key`."""
    if problems := inspect(folder, trust_remote_code=trust_remote_code).problems:
        raise UserError(*(Problem(problem, key) for problem in problems))


def is_encoder_tensor(name: str, model: PreTrainedModel) -> bool:
    """Whether a tensor of a file belongs to the encoder: by its prefix, its top-level module, or its numbered layer."""
    suffix = name.removeprefix(f"{model.base_model_prefix}.")
    modules = {module for module, _ in model.base_model.named_children()}
    return suffix != name or suffix.split(".")[0] in modules or _LAYER.search(name) is not None


def unexpected_tensors(names: Iterable[str], model: PreTrainedModel) -> list[str]:
    """Those of `names`, which the model does not have, that belong to the encoder and cannot be ignored.

    Without them the encoder would compute something else. Tensors of other tasks' heads are ignored.
    """
    return sorted(name for name in names if is_encoder_tensor(name, model) and not IGNORED.search(name))


def unexpected_message(names: Collection[str], config: PretrainedConfig) -> str:
    """The message about `unexpected_tensors`."""
    layers = {int(match[1]) for match in map(_LAYER.search, names) if match}
    depth = getattr(config, families.LAYERS, None)
    hint = f"; num_hidden_layers is {depth}, and the weights have {counted(max(layers) + 1, 'layer')}" if layers else ""
    return (
        f"the weights do not fit {pretrained.CONFIG}: its model does not have"
        f" {counted(len(names), 'tensor')} of the encoder, {_first_names(names)}{hint}"
    )


def excess_tokens(tokenizer: PreTrainedTokenizerBase, rows: int) -> str | None:
    """The message about a tokenizer with more tokens than the embedding has `rows`; None if there is no problem."""
    count = max(tokenizer.get_vocab().values(), default=0) + 1
    if count <= rows:
        return None
    return (
        f"the tokenizer has {count} tokens, and the embedding has {rows} rows; call"
        f" model.resize_token_embeddings({count}) and save the model again, or remove the tokens added to the tokenizer"
    )


def _inspect(folder: Path, trust_remote_code: bool) -> Inspection:
    try:
        config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
        families.shape(config, str(folder))
        tokenizer = tokenizers.load(folder, trust_remote_code=trust_remote_code)
        stored = stored_shapes(folder)
        model = _meta_model(config, folder, trust_remote_code)
    except UserError as error:
        return Inspection(problems=tuple(problem.message for problem in error.problems))
    problems = [*_weight_problems(stored, model)] if model is not None else []
    rows = _embedding_rows(stored, model) or config.vocab_size
    if too_many := excess_tokens(tokenizer, rows):
        problems.append(too_many)
    messages = tuple(f"{folder}: {problem}" for problem in problems)
    return Inspection(problems=messages, tokenizer_fingerprint=tokenizers.fingerprint(tokenizer))


def stored_shapes(folder: Path) -> dict[str, Shape]:
    """Names and shapes of all tensors in the folder's weight files.

    Raises:
        UserError: there are no weight files, or one cannot be read.
    """
    files = _weight_files(folder)
    if not files:
        names = ", ".join(kind[0] for kind in pretrained.WEIGHT_FILES)
        raise UserError(f"{folder} holds no weights ({names}); add them to the folder")
    shapes: dict[str, Shape] = {}
    for file in files:
        shapes |= _shapes_in(file)
    return {_current_name(name): shape for name, shape in shapes.items()}


def _weight_files(folder: Path) -> list[Path]:
    """The weight files of the preferred kind: those listed in an index, or a single file.

    Raises:
        UserError: the index cannot be read, or lists a missing file.
    """
    for pattern, index_pattern in pretrained.WEIGHT_FILES:
        indices = sorted(folder.glob(index_pattern))
        if indices:
            try:
                with explained(indices[0], can_be_missing=True):
                    names = set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise UserError(f"{indices[0]} cannot be read: {error}") from error
            missing = sorted(name for name in names if not (folder / name).is_file())
            if missing:
                raise UserError(f"{folder}: {indices[0].name} lists {missing[0]}, which is missing from the folder")
            return sorted(folder / name for name in names)
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _shapes_in(file: Path) -> dict[str, Shape]:
    from safetensors import SafetensorError, safe_open

    try:
        with explained(file, can_be_missing=True):
            if file.suffix == ".safetensors":
                with safe_open(file, "pt") as header:
                    return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
            weights = torch.load(file, map_location="meta", weights_only=True)
        return {name: tuple(tensor.shape) for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        reason = first_line(error)
        raise UserError(f"{file} cannot be read: {reason}; download or save it again") from error


def _current_name(name: str) -> str:
    """The name of a tensor after transformers' renaming."""
    for old, new in _LEGACY.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _meta_model(config: PretrainedConfig, folder: Path, trust_remote_code: bool) -> PreTrainedModel | None:
    """The encoder of the configuration on the meta device; None if its code does not support that device.

    Raises:
        UserError: no model can be built from the configuration.
    """
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
        return model
    except NotImplementedError:
        return None
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{folder / pretrained.CONFIG}: no model can be built from it: {reason}") from error


def _weight_problems(stored: Mapping[str, Shape], model: PreTrainedModel) -> Iterable[str]:
    """Messages about encoder tensors that are unexpected, missing, or of another shape than the model's."""
    prefix = f"{model.base_model_prefix}."
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    actual = {name.removeprefix(prefix): shape for name, shape in stored.items()}
    ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    extra = [
        name
        for name in unexpected_tensors(stored, model)
        if name.removeprefix(prefix) not in expected and not any(pattern.search(name) for pattern in ignored)
    ]
    missing = sorted(name for name in expected.keys() - actual.keys() if not IGNORED.search(name))
    if extra and len(extra) == len(missing):
        return  # transformers may rename them on loading; then loading reports any problem
    if extra:
        yield unexpected_message(extra, model.config)
    if missing:
        yield (
            f"the weights do not fit {pretrained.CONFIG}: {counted(len(missing), 'tensor')} of the encoder are missing,"
            f" {_first_names(missing)}"
        )
    shared = sorted(expected.keys() & actual.keys())
    different = [name for name in shared if expected[name] != actual[name] and not IGNORED.search(name)]
    if different:
        first = different[0]
        yield (
            f"the weights do not fit {pretrained.CONFIG}: {counted(len(different), 'tensor')} of the encoder have"
            f" another size, the first {first}: {list(actual[first])} in the file,"
            f" {list(expected[first])} by {pretrained.CONFIG}"
        )


def _embedding_rows(stored: Mapping[str, Shape], model: PreTrainedModel | None) -> int | None:
    """Number of rows of the token embedding in the file; None if it is not found."""
    if model is None:
        return None
    weight = model.get_input_embeddings().weight
    name = next((name for name, parameter in model.named_parameters() if parameter is weight), None)
    shape = stored.get(f"{model.base_model_prefix}.{name}") or stored.get(str(name))
    return shape[0] if shape else None


def _first_names(names: Collection[str]) -> str:
    """The first three names, and the number of the others."""
    first = sorted(names)[:3]
    rest = len(names) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")
