"""Loads the tokenizers of pretrained models, and builds a whole-word one for teachers trained from scratch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError
from harness.models import foreign_code
from harness.models.pretrained import CONFIG, VOCABULARY_FILES, checkpoint_files, config_in
from harness.storage.derived_values import derived
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Description(FrozenModel):
    """What a plan needs to know of a tokenizer.

    Attributes:
        fingerprint: see `fingerprint`.
        size: the number of its tokens.
        has_mask: whether it has a mask token.
        most: the most tokens of a row that it and the model of its folder allow; None: no limit, or no folder.
    """

    fingerprint: str
    size: int
    has_mask: bool
    most: int | None = None


def describe_checkpoint(
    folder: Path, load: Callable[[], PreTrainedTokenizerBase], *, trust_remote_code: bool = False
) -> Description:
    """Describe the tokenizer of a folder, which `load` loads. Cached until a file of the folder changes.

    Raises:
        UserError: as `load` does, or config.json cannot be read.
    """

    def describe() -> Description:
        tokenizer = load()
        return _described(tokenizer, most_tokens(tokenizer, config_in(folder, trust_remote_code=trust_remote_code)))

    files = partial(checkpoint_files, folder, trust_remote_code=trust_remote_code)
    return derived("tokenizers", {"folder": str(folder)}, Description, describe, files=files)


def describe_whole_word(texts: str, load: Callable[[], PreTrainedTokenizerBase]) -> Description:
    """Describe the tokenizer that `load` builds from texts with the fingerprint `texts`."""
    return derived("tokenizers", {"whole_word": texts}, Description, lambda: _described(load()))


def _described(tokenizer: PreTrainedTokenizerBase, most: int | None = None) -> Description:
    has_mask = getattr(tokenizer, "mask_token_id", None) is not None
    return Description(fingerprint=fingerprint(tokenizer), size=len(tokenizer), has_mask=has_mask, most=most)


def load(path: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer in the folder `path`.

    Raises:
        UserError: there is no tokenizer, it cannot be loaded, or it is a slow one, which has no character offsets.
    """
    from transformers import AutoTokenizer

    from harness.models.quiet_transformers import quiet_transformers

    if not any(file for pattern in VOCABULARY_FILES for file in path.glob(pattern)):
        # without these files transformers builds a tokenizer for which every word is unknown
        raise UserError(f"{path} holds no tokenizer; add its files ({', '.join(VOCABULARY_FILES)}) to the folder")

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    if trust_remote_code:
        foreign_code.refuse(path)
    if (path / CONFIG).is_file():
        options["config"] = config_in(path, trust_remote_code=trust_remote_code)
    try:
        with explained(path, can_be_missing=True), quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot load a tokenizer from this folder: {foreign_code.reason(error)}") from error
    if not tokenizer.is_fast:
        raise UserError(
            f"{path}: {type(tokenizer).__name__} is a slow tokenizer, which has no character offsets; add the"
            " tokenizer.json of a fast one to the folder"
        )
    return tokenizer


def most_tokens(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int | None:
    """The most tokens of a row that model and tokenizer allow; None if neither sets a limit."""
    from harness.models import families

    bounds = [families.most_tokens(config), tokenizer.model_max_length]
    # Tokenizers without a limit have a huge number as model_max_length.
    return min((bound for bound in bounds if bound is not None and bound < 10**9), default=None)


def whole_word(texts: Iterable[str], *, size: int = 8000) -> PreTrainedTokenizerBase:
    """Build a lower-casing BERT tokenizer from `texts`. Their order does not matter.

    The vocabulary has at most `size` entries: special tokens; each character, alone and as the continuation of a word,
    so that every word of known characters can be tokenized; then whole words, the most frequent first.

    Raises:
        UserError: the texts have more characters than fit in `size` entries.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertTokenizer

    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted(set("".join(words)))
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    if len(pieces) > size:
        raise UserError(
            f"the {len(characters)} different characters of the texts do not fit in a vocabulary of {size} tokens, so"
            " no teacher can be trained from scratch; use a pretrained one (`model:`)"
        )
    by_frequency = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    vocabulary = [*pieces, *by_frequency[: size - len(pieces)]]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(vocabulary)}, do_lower_case=True)


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits over everything that determines the token ids of a text.

    The folder and the settings of the last call (truncation, padding) do not count.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for transient in ("truncation", "padding"):
        rules.pop(transient, None)
    content = {
        "rules": rules,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "inputs": list(tokenizer.model_input_names),
    }
    if tokenizer.truncation_side != "right":  # only then, so that fingerprints of all others stay the same
        content["cut"] = tokenizer.truncation_side
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
