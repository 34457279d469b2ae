"""A check of a tokenizer's offsets: the text at a token's place must be what the token decodes to."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tokenizers.models import WordPiece

from harness.api.errors import UserError
from harness.tasks.features import DROPPED
from harness.tasks.qa_answers import shown

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 50
"""Texts of each column that are checked, and as many that are not ASCII: wrong offsets are a fault of the tokenizer,
which shows in any text, or in the texts that it normalizes."""

ALLOWED = 0.01
"""Share of tokens that may disagree: normalizers rewrite single characters (ligatures, fractions) in ways of their
own."""

UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
"""What a token decodes to that is a part of a character's bytes."""


def refuse_wrong_offsets(dataset: Dataset, columns: Iterable[str], tokenizer: Any) -> None:
    """Check the offsets of `tokenizer` on some texts of a split.

    Raises:
        UserError: more than `ALLOWED` of the tokens are not what the text has at their offsets.
    """
    tokens, wrong, example = 0, 0, ""
    decoded: dict[int, str | None] = {}
    for column in columns:
        for text in _sample(dataset[column]):
            for span, token in _pairs(text, tokenizer, decoded):
                tokens += 1
                if not _agree(span, token):
                    wrong += 1
                    example = example or f"token {shown(token)} has the offsets of {shown(span)}"
    if wrong > ALLOWED * tokens:
        raise UserError(
            f"the offsets of {type(tokenizer).__name__} are wrong for {wrong} of {tokens} tokens ({example}): answers,"
            " and tokens of other tokenizers, cannot be found by them; use another model, or repair its tokenizer.json"
        )


def _sample(texts: Sequence[str]) -> Iterator[str]:
    yield from islice(texts, EXAMPLES)
    yield from islice((text for text in islice(texts, EXAMPLES, None) if not text.isascii()), EXAMPLES)


def _pairs(text: str, tokenizer: Any, decoded: dict[int, str | None]) -> Iterator[tuple[str, str]]:
    """What the text has at each token's offsets, and what the token decodes to; without those that decode to no
    text."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for id, (begin, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if id not in decoded:
            decoded[id] = _decode(id, tokenizer)
        token = decoded[id]
        if token is not None:
            yield text[begin:end], token


def _decode(id: int, tokenizer: Any) -> str | None:
    """None for special tokens, parts of a character's bytes, and where the tokenizer cannot decode."""
    if id in tokenizer.all_special_ids:
        return None
    backend = tokenizer.backend_tokenizer
    token: str = tokenizer.convert_ids_to_tokens(id)
    prefix = getattr(backend.model, "continuing_subword_prefix", None)
    if isinstance(backend.model, WordPiece) and prefix:
        return token.removeprefix(prefix)
    if backend.decoder is None:
        return None
    token = tokenizer.decode([id], clean_up_tokenization_spaces=False)
    return None if UNDECODABLE in token else token


def _agree(span: str, token: str) -> bool:
    """Whether they are the same but for case, accents, blanks and Unicode form, which may make several tokens of one
    character."""
    found, expected = _folded(span), _folded(token)
    return found == expected or (len(span.strip()) == 1 and expected in found)


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if unicodedata.category(letter) not in DROPPED)
