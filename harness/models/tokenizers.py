"""Tokenizers: those of pretrained models, and one made on the spot for a teacher that is trained from nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError
from harness.models.pretrained import CONFIG, VOCABULARY_FILES, config_in

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load(path: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer in `path`. Raises `UserError` where there is none, or one that cannot tell a token's place in the
    text, which extractive QA and word ids need."""
    from transformers import AutoTokenizer

    from harness.models.quiet_transformers import quiet_transformers

    if not any(file for pattern in VOCABULARY_FILES for file in path.glob(pattern)):
        # transformers would make one up, to which every word is unknown
        raise UserError(f"{path} holds no tokenizer; add its files ({', '.join(VOCABULARY_FILES)}) to the folder")

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    if (path / CONFIG).is_file():
        options["config"] = config_in(path, trust_remote_code=trust_remote_code)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot load a tokenizer from this folder: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(
            f"{path}: {type(tokenizer).__name__} is a slow tokenizer and cannot tell where in the text a token stands;"
            " add the tokenizer.json of a fast one to the folder"
        )
    return tokenizer


def most_tokens(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int | None:
    """How many tokens a row may have for the model and for its tokenizer; None where neither sets a bound."""
    from harness.models import families

    bounds = [families.most_tokens(config), tokenizer.model_max_length]
    # Tokenizers without a bound say so by a number that no row has.
    return min((bound for bound in bounds if bound is not None and bound < 10**9), default=None)


def whole_word(texts: Iterable[str], *, size: int = 8000) -> PreTrainedTokenizerBase:
    """A lower-casing BERT tokenizer for `texts`, the same for the same texts in any order.

    Its vocabulary, of at most `size` entries: the special tokens; each character that occurs, both alone and as the
    continuation of a word, so that no word of known characters is unknown; and then whole words, the most frequent
    first. Raises `UserError` if `size` has no room for the characters.
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
            f"a vocabulary of {size} has no room for the {len(characters)} characters of the texts: no teacher from"
            " scratch can read them; take one with a tokenizer of its own (`model:`)"
        )
    by_frequency = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    vocabulary = [*pieces, *by_frequency[: size - len(pieces)]]
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(vocabulary)}, do_lower_case=True)


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits over what decides the ids of a text; not where it was loaded from, nor how it last truncated."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for transient in ("truncation", "padding"):
        rules.pop(transient, None)
    content = {
        "rules": rules,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "inputs": list(tokenizer.model_input_names),
    }
    if tokenizer.truncation_side != "right":  # as nearly all have it: a part of the others' alone
        content["cut"] = tokenizer.truncation_side
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
