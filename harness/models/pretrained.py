"""Finds pretrained encoders by hub id or folder, reads their configuration, and computes their fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.models import foreign_code
from harness.storage import cache_dir
from harness.storage.derived_values import derived
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel
from harness.storage.hub import GATED, download_errors, unavailable_reason

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
CODE = "*.py"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""A tokenizer needs at least one of these; the last pattern is sentencepiece's."""

TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
WEIGHT_FILES = (
    ("model*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model*.bin", "pytorch_model*.bin.index.json"),
)
"""Kinds of weight files, the preferred one first. Only one kind of a model is downloaded and used."""

_BERT_FIELDS = {"hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "type_vocab_size"}
_REMEDY = "give a local folder that holds config.json, the weights and the tokenizer"
_fingerprints: dict[tuple[tuple[str, int, int], ...], str] = {}


def locate(model: str, *, trust_remote_code: bool = False) -> Path:
    """The folder of `model`: a local folder, or the snapshot of a hub id in the hub's cache.

    Only config, tokenizer and one kind of weights are downloaded (and code, with `trust_remote_code`).

    Raises:
        UserError: the folder or the model does not exist, or cannot be downloaded. If the hub is unreachable, this is
            raised within seconds.
    """
    folder = _local(model)
    return folder if folder is not None else _snapshot(model, weights=True, code=trust_remote_code)


def read_config(model: str, *, online: bool, trust_remote_code: bool = False) -> PretrainedConfig | None:
    """The configuration of `model`; None for a hub id that is not cached if `online` is false.

    Raises:
        UserError: as `locate`, or transformers cannot read config.json.
    """
    folder = _local(model) or _cached(model, weights=False)
    if folder is None:
        if not online:
            return None
        folder = _snapshot(model, weights=False, code=trust_remote_code)
    return config_in(folder, trust_remote_code=trust_remote_code)


def local_path(model: str) -> Path | None:
    """The folder of `model` with its weights if it is on this machine, else None. Does not contact the hub."""
    return _local(model) or _cached(model, weights=True)


def config_in(folder: Path, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The configuration in `folder`.

    A configuration without ``model_type`` and with BERT's fields is read as BERT's: some well-known checkpoints
    (general TinyBERT, BERT miniatures) are older than that field.

    Raises:
        UserError: transformers cannot read config.json, or with `trust_remote_code` code is in another repository.
    """
    from transformers import AutoConfig, BertConfig

    if trust_remote_code:
        foreign_code.refuse(folder)
    try:
        with explained(folder, can_be_missing=not cache_dir.contains(folder)):
            fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if "model_type" not in fields and fields.keys() >= _BERT_FIELDS and fields["type_vocab_size"] == 2:
                return BertConfig.from_dict(fields)
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder / CONFIG} cannot be read: {foreign_code.reason(error)}") from error


def fingerprint(path: Path) -> str:
    """16 hex digits over the names and contents of config, weights, tokenizer and code files in `path`.

    Cached until a file changes.
    """
    files = _checkpoint_files(path)
    stats = [(file, file.stat()) for file in files]
    key = tuple((str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
    if key not in _fingerprints:
        inputs = {"folder": str(path)}
        found = derived("checkpoints", inputs, _Digest, partial(_digest, files), files=partial(_checkpoint_files, path))
        _fingerprints[key] = found.digest
    return _fingerprints[key]


class _Digest(FrozenModel):
    digest: str


def _digest(files: Iterable[Path]) -> _Digest:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.name} {content}\n".encode())
    return _Digest(digest=digest.hexdigest()[:16])


def checkpoint_files(folder: Path, *, trust_remote_code: bool = False) -> list[Path] | None:
    """All files of a checkpoint; None if it brings code, which may read others."""
    return None if trust_remote_code else [file for file in folder.iterdir() if file.is_file()]


def copy_code(folder: Path, to: Path) -> None:
    """Copy the code of the checkpoint in `folder`, if it has any, to the model in `to`, without files that are there.

    transformers saves the code of a model that it loaded, and not that of a part of it, such as its encoder.
    """
    for file in folder.glob(CODE):
        if not (to / file.name).exists():
            shutil.copyfile(file, to / file.name)


def is_folder(model: str) -> bool:
    """Whether `model` is a local folder: an existing one, or a path that is not a valid hub id."""
    return Path(model).expanduser().is_dir() or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", model)


def _local(model: str) -> Path | None:
    if not is_folder(model):
        return None
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {model!r}, and it is not a hub id (owner/name); {_REMEDY}")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} holds no {CONFIG}, so it is not a model; {_REMEDY}")
    return folder


def _checkpoint_files(path: Path) -> list[Path]:
    """Config, tokenizer, weight and code files in `path`, sorted."""
    patterns = [CONFIG, CODE, *TOKENIZER_FILES, *_weight_patterns([file.name for file in path.iterdir()])]
    return sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})


def _weight_patterns(names: list[str]) -> tuple[str, ...]:
    """The file patterns of the preferred kind of weights among `names`; empty if there are no weights."""
    return next((kind for kind in WEIGHT_FILES if any(Path(name).match(kind[0]) for name in names)), ())


def _snapshot(model: str, *, weights: bool, code: bool) -> Path:
    """The folder with a hub id's files, from the hub if it is reachable, else from the cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError

    reason = unavailable_reason(model, "model")
    if reason is not None:
        folder = _cached(model, weights=weights)
        if folder is not None:
            return folder
        raise UserError(f"{model}: {reason}, and it is not in the hub's cache; {_REMEDY}")
    try:
        names = [name for name in HfApi().list_repo_files(model) if "/" not in name]
        return Path(
            snapshot_download(model, allow_patterns=_files_to_download(model, names, weights=weights, code=code))
        )
    except GatedRepoError as error:  # a gated repository can be listed, but not downloaded without access
        raise UserError(f"{model}: {GATED}; or {_REMEDY}") from error
    except download_errors() as error:
        raise UserError(f"{model}: the download broke off ({error}); try again, or {_REMEDY}") from error


def _files_to_download(model: str, names: list[str], *, weights: bool, code: bool) -> list[str]:
    """The files of a repository to download. Raises `UserError` if config or weights are missing."""
    kinds = _weight_patterns(names)
    if CONFIG not in names or (weights and not kinds):
        lacks = CONFIG if CONFIG not in names else "model.safetensors and no pytorch_model.bin"
        raise UserError(f"{model}: its repository on the hub holds no {lacks}; {_REMEDY}")
    patterns = [CONFIG, *TOKENIZER_FILES, *(kinds if weights else ()), *([CODE] if code else [])]
    return [name for name in names if any(Path(name).match(pattern) for pattern in patterns)]


def _cached(model: str, *, weights: bool) -> Path | None:
    """The snapshot of a hub id in the cache; None if config, or required weights, are missing."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model, CONFIG)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if not weights or _weight_patterns([file.name for file in folder.iterdir()]) else None
