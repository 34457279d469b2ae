"""Validation of a tokenizer's offsets: the text at a token's offsets must equal the decoded token."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tokenizers.models import WordPiece

from harness.api.errors import UserError
from harness.tasks.features import DROPPED, texts_of
from harness.tasks.qa_answers import short_repr

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 50
"""Number of texts of each column that are checked; and as many texts that are not ASCII.

A sample is enough: wrong offsets are a fault of the tokenizer, which shows in any text or in those it normalizes."""

MAX_MISMATCH = 0.01
"""Maximum share of tokens that may differ from their text: normalizers rewrite some characters, such as ligatures."""

UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
"""Decoded form of a token that has only some bytes of a character."""


def refuse_wrong_offsets(dataset: Dataset, columns: Iterable[str], tokenizer: Any) -> None:
    """Check the offsets of `tokenizer` on a sample of the texts of a split.

    Raises:
        UserError: more than `MAX_MISMATCH` of the tokens differ from the text at their offsets.
    """
    tokens, wrong, example = 0, 0, ""
    decoded: dict[int, str | None] = {}
    for column in columns:
        for text in _sample(dataset[column]):
            for span, token in _pairs(text, tokenizer, decoded):
                tokens += 1
                if not _agree(span, token):
                    wrong += 1
                    example = example or f"token {short_repr(token)} has the offsets of {short_repr(span)}"
    if wrong > MAX_MISMATCH * tokens:
        raise UserError(
            f"the offsets of {type(tokenizer).__name__} are wrong for {wrong} of {tokens} tokens ({example}):"
            " they locate answers and align tokenizers; use another model, or repair its tokenizer.json"
        )


def _sample(column: Sequence[Any]) -> Iterator[str]:
    texts = texts_of(column)
    yield from islice(texts, EXAMPLES)
    yield from islice((text for text in texts if not text.isascii()), EXAMPLES)


def _pairs(text: str, tokenizer: Any, decoded: dict[int, str | None]) -> Iterator[tuple[str, str]]:
    """Yield the text at each token's offsets and the decoded token; tokens that do not decode to text are skipped."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for id, (begin, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if id not in decoded:
            decoded[id] = _decode(id, tokenizer)
        token = decoded[id]
        if token is not None:
            yield text[begin:end], token


def _decode(id: int, tokenizer: Any) -> str | None:
    """Decode one token; None for special tokens, partial characters, and tokenizers without a decoder."""
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
    """Compare without regard to case, accents, white space and Unicode form.

    One character may normalize to several, of which the token has only some.
    """
    folded_span, folded_token = _fold(span), _fold(token)
    return folded_span == folded_token or (len(span.strip()) == 1 and folded_token in folded_span)


def _fold(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if unicodedata.category(letter) not in DROPPED)
