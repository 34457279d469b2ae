"""Pretrained encoders by hub id or folder: where they lie, what they are, what they hold."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.storage.hub import GATED, download_errors, unavailable_reason

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""A tokenizer needs one of these at least; the last are sentencepiece's."""

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
"""Kinds of weights, the preferred first; of a model only one kind is fetched, and only one counts."""

_BERT_FIELDS = {"hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "type_vocab_size"}
_REMEDY = "give `model:` or `init:` a local folder that holds config.json, the weights and the tokenizer"
_fingerprints: dict[tuple[tuple[str, int, int], ...], str] = {}


def locate(model: str, *, trust_remote_code: bool = False) -> Path:
    """The folder of `model`: a local folder as it is, a hub id as a snapshot in the hub's cache.

    Only config, tokenizer and one kind of weights are fetched (and the code, with `trust_remote_code`). Raises
    `UserError` naming the id, the reason and the remedy: within seconds where the hub cannot be reached and nothing is
    cached.
    """
    folder = _local(model)
    return folder if folder is not None else _snapshot(model, weights=True, code=trust_remote_code)


def read_config(model: str, *, online: bool, trust_remote_code: bool = False) -> PretrainedConfig | None:
    """The configuration of `model`; None for a hub id that is not cached, unless `online` allows to ask the hub.

    Raises `UserError` as `locate` does, and for a config.json that transformers cannot read.
    """
    folder = _local(model) or _cached(model, weights=False)
    if folder is None:
        if not online:
            return None
        folder = _snapshot(model, weights=False, code=trust_remote_code)
    return config_in(folder, trust_remote_code=trust_remote_code)


def at_hand(model: str) -> Path | None:
    """The folder of `model` with its weights, if that is on this machine; the hub is not asked."""
    return _local(model) or _cached(model, weights=True)


def config_in(folder: Path, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The configuration in `folder`. Raises `UserError` for a config.json that transformers cannot read.

    One that names no type and has BERT's numbers is BERT's: some well-known checkpoints (TinyBERT's general ones, BERT
    miniatures) are from before the type was written down.
    """
    from transformers import AutoConfig, BertConfig

    try:
        fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if "model_type" not in fields and fields.keys() >= _BERT_FIELDS and fields["type_vocab_size"] == 2:
            return BertConfig.from_dict(fields)
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder / CONFIG} cannot be read: {error}") from error


def fingerprint(path: Path) -> str:
    """16 hex digits over the names and contents of config, weights and tokenizer in `path`, and nothing else there.

    Remembered in this process for as long as the files' sizes and times stay the same.
    """
    files = _counting_files(path)
    stats = [(file, file.stat()) for file in files]
    key = tuple((str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
    if key not in _fingerprints:
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.name} {content}\n".encode())
        _fingerprints[key] = digest.hexdigest()[:16]
    return _fingerprints[key]


def is_folder(model: str) -> bool:
    """Whether `model` means a folder on this machine: one that is there, or a path that no hub id could be."""
    return Path(model).expanduser().is_dir() or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", model)


def _local(model: str) -> Path | None:
    if not is_folder(model):
        return None
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {model!r}, and a hub id it is not (those read owner/name); {_REMEDY}")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} holds no {CONFIG}, so it is no model; {_REMEDY}")
    return folder


def _counting_files(path: Path) -> list[Path]:
    patterns = [CONFIG, *TOKENIZER_FILES, *_weight_patterns([file.name for file in path.iterdir()])]
    return sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})


def _weight_patterns(names: list[str]) -> tuple[str, ...]:
    """The patterns of the preferred kind of weights among `names`; none where there are no weights."""
    return next((kind for kind in WEIGHT_FILES if any(Path(name).match(kind[0]) for name in names)), ())


def _snapshot(model: str, *, weights: bool, code: bool) -> Path:
    """A hub id's files, from the hub where it answers and else from the cache."""
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
        return Path(snapshot_download(model, allow_patterns=_wanted(model, names, weights=weights, code=code)))
    except GatedRepoError as error:  # which tells of itself to everybody, and gives its files to some
        raise UserError(f"{model}: {GATED}; or {_REMEDY}") from error
    except download_errors() as error:
        raise UserError(f"{model}: the download broke off ({error}); try again, or {_REMEDY}") from error


def _wanted(model: str, names: list[str], *, weights: bool, code: bool) -> list[str]:
    """Which of a repository's files to fetch."""
    kinds = _weight_patterns(names)
    if CONFIG not in names or (weights and not kinds):
        lacks = CONFIG if CONFIG not in names else "model.safetensors and no pytorch_model.bin"
        raise UserError(f"{model}: its repository on the hub holds no {lacks}, so it is of no use here; {_REMEDY}")
    patterns = [CONFIG, *TOKENIZER_FILES, *(kinds if weights else ()), *(["*.py"] if code else [])]
    return [name for name in names if any(Path(name).match(pattern) for pattern in patterns)]


def _cached(model: str, *, weights: bool) -> Path | None:
    """The snapshot of a hub id in the cache, if it holds what is needed."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model, CONFIG)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if not weights or _weight_patterns([file.name for file in folder.iterdir()]) else None
