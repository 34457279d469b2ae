"""TinyBERT's data augmentation: algorithm 1 of the paper (Jiao et al. 2020, appendix A).

Makes 20 variants of each sentence. In each variant every word is replaced with probability 0.4: a single-token word by
one of the 15 most likely words of the masked language model at its position, any other word by one of its 15 nearest
neighbours in a table of word vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from harness import Augmentation, MethodConfig
from harness.api.lazy_torch import torch
from harness.api.method import FIRST_TEACHER, MaskedLanguageModel, Row
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive

from . import vectors
from .vectors import WordVectors, best

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 64
"""Number of examples whose sentences the language model processes together."""

SENTENCES = ("text", "text_pair")


class AugmentConfig(MethodConfig):
    """Options of tinybert's `augment`; the defaults are the paper's (appendix A)."""

    model_config = ConfigDict(strict=True)

    variants: int = Field(20, gt=0, description="variants of each sentence, in addition to the original (N_a)")
    probability: float = Field(0.4, gt=0, le=1, description="probability of replacing a word (p_t)")
    candidates: int = Field(15, gt=0, description="number of candidates for a replacement, drawn uniformly (K)")
    model: str | None = Field(
        None,
        description="hub id or folder of a masked language model; null: the first teacher's pretrained checkpoint",
    )
    vectors: str | None = Field(
        None, description="a file of word vectors in GloVe's text format; null: the model's input embeddings"
    )
    seed: int = Field(1, ge=0, description="random seed; all seeds of the suite share the variants")


def augmentation(config: AugmentConfig) -> Augmentation:
    """The `Augmentation` for these options."""
    return Augmentation(
        partial(augmented, config),
        options=config.model_dump(exclude={"model", "vectors"}),
        model=config.model or FIRST_TEACHER,
        files=() if config.vectors is None else (config.vectors,),
        option="augment.model",
    )


def augmented(
    config: AugmentConfig, rows: Iterable[Row], model: MaskedLanguageModel, files: Sequence[Path]
) -> Iterator[Row]:
    """Yields each row and then its variants. Random choices depend only on the seed and the row's id."""
    replacements = Replacements(model, vectors.read(files[0]) if files else None, config.candidates)
    row_iterator = iter(rows)
    while chunk := list(islice(row_iterator, CHUNK)):
        texts = dict.fromkeys(row[column] for row in chunk for column in SENTENCES if column in row)
        words = dict(zip(texts, replacements.of(list(texts)), strict=True))
        for row in chunk:
            yield row
            yield from _variants(row, words, config)


@dataclass(frozen=True)
class Word:
    """The word ``text[start:end]`` and the candidates for its replacement."""

    start: int
    end: int
    candidates: Sequence[str] = ()


def split(text: str) -> list[tuple[str, tuple[int, int]]]:
    """The words of a text with their spans, split at blanks and punctuation as in BERT; without punctuation."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return [(word, span) for word, span in BertPreTokenizer().pre_tokenize_str(text) if is_word(word)]


def is_word(piece: str) -> bool:
    """Whether the token contains a letter or digit."""
    return any(character.isalnum() for character in piece)


def _variants(row: Row, words: Mapping[str, Sequence[Word]], config: AugmentConfig) -> Iterator[Row]:
    """Yields variants of each sentence of the row, the other sentence unchanged; no duplicates, not the original."""
    count = 0
    for column in SENTENCES:
        if column not in row:
            continue
        text = row[column]
        rng = SeededChoice(derive(config.seed, str(row["id"]), column))
        seen = {text}
        for _ in range(config.variants):
            variant = _variant(text, words[text], rng, config.probability)
            if variant not in seen:
                seen.add(variant)
                count += 1
                yield {**row, "id": f"{row['id']}~{count}", column: variant}


def _variant(text: str, words: Sequence[Word], rng: SeededChoice, probability: float) -> str:
    pieces, end = [], 0
    for word in words:
        if word.candidates and rng.chance(probability):
            pieces += [text[end : word.start], rng.pick(word.candidates)]
            end = word.end
    return "".join([*pieces, text[end:]])


@dataclass(frozen=True)
class TokenizedText:
    """A tokenized sentence: token ids including special tokens, the special tokens mask, and character spans."""

    ids: list[int]
    special: list[int]
    spans: list[tuple[int, int]]

    def tokens_of(self, start: int, end: int) -> list[int]:
        """Positions of the tokens that overlap the characters from `start` to `end`."""
        real = ((position, span) for position, span in enumerate(self.spans) if not self.special[position])
        return [position for position, (first, last) in real if first < end and start < last]

    def masked(self, position: int, mask: int, longest: int) -> tuple[list[int], int]:
        """The token ids with `mask` at `position`, and the new position of the mask.

        A text of more than `longest` tokens is cut to a window around the mask.
        """
        text = [i for i, special in enumerate(self.special) if not special]
        before, after = self.ids[: text[0]], self.ids[text[-1] + 1 :]
        window = longest - len(before) - len(after)
        index = position - text[0]
        first = max(0, min(index - window // 2, len(text) - window))
        ids = [self.ids[i] for i in text[first : first + window]]
        ids[index - first] = mask
        return [*before, *ids, *after], len(before) + index - first


@dataclass
class Replacements:
    """Finds candidates for the replacement of words.

    Without a `table`, the vector of a word is the mean of its tokens' input embeddings, and its neighbours are whole
    words of the vocabulary.
    """

    model: MaskedLanguageModel
    table: WordVectors | None
    count: int
    _neighbours: dict[str, list[str]] = field(default_factory=dict)

    def of(self, texts: Sequence[str]) -> list[list[Word]]:
        """The words of each text, with their candidates."""
        tokenized = self._tokenize(texts)
        words: list[list[Word]] = [[] for _ in texts]
        to_predict: list[tuple[int, int, int]] = []  # text, word, position
        to_look_up: list[tuple[int, int, str, list[int]]] = []  # text, word, spelling, token ids
        for index, (text, tokens) in enumerate(zip(texts, tokenized, strict=True)):
            for number, (spelling, (start, end)) in enumerate(split(text)):
                words[index].append(Word(start, end))
                positions = tokens.tokens_of(start, end)
                if len(positions) == 1 and self._is_token(spelling, text, tokens, positions[0]):
                    to_predict.append((index, number, positions[0]))
                else:
                    to_look_up.append((index, number, spelling, [tokens.ids[position] for position in positions]))
        self._find_neighbours({word: ids for _, _, word, ids in to_look_up if word not in self._neighbours})
        for index, number, spelling, _ in to_look_up:
            words[index][number] = replace(words[index][number], candidates=self._neighbours[spelling])
        for (index, number, _), candidates in zip(to_predict, self._predict(tokenized, to_predict), strict=True):
            words[index][number] = replace(words[index][number], candidates=candidates)
        return words

    def _tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        tokens = self.model.tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True)
        columns = (tokens["input_ids"], tokens["special_tokens_mask"], tokens["offset_mapping"])
        return [TokenizedText(*row) for row in zip(*columns, strict=True)]

    def _is_token(self, word: str, text: str, tokens: TokenizedText, position: int) -> bool:
        """Whether the token is exactly the word and is known to the vocabulary."""
        start, end = tokens.spans[position]
        return text[start:end].strip() == word and tokens.ids[position] not in self.model.tokenizer.all_special_ids

    def _predict(
        self, tokenized: Sequence[TokenizedText], positions: Sequence[tuple[int, int, int]]
    ) -> list[list[str]]:
        """The most likely whole words at each (text, word, position), without the word itself."""
        words, mask = self._whole_words, int(self.model.tokenizer.mask_token_id)
        inputs = [tokenized[index].masked(position, mask, self.model.longest) for index, _, position in positions]
        originals = [tokenized[index].ids[position] for index, _, position in positions]
        candidates: list[list[str]] = [[] for _ in positions]
        for numbers, logits in self.model.predict([ids for ids, _ in inputs], [position for _, position in inputs]):
            logits = logits.masked_fill(~self._allowed, -torch.inf)
            logits[torch.arange(len(numbers)), [originals[number] for number in numbers]] = -torch.inf
            for number, ids in zip(numbers, best(logits, self.count), strict=True):
                candidates[number] = [words[i] for i in ids]
        return candidates

    def _find_neighbours(self, words: Mapping[str, Sequence[int]]) -> None:
        """Find the neighbours of words, given their token ids. A word without a vector has none and is not replaced."""
        self._neighbours |= {word: [] for word in words}
        table, vector = self._lookup
        known = {word: v for word, ids in words.items() if (v := vector(word, ids)) is not None}
        if known:
            rows = [table.row_of(word) for word in known]
            neighbours = table.nearest(torch.stack(list(known.values())), rows, self.count)
            self._neighbours |= zip(known, neighbours, strict=True)

    @cached_property
    def _lookup(self) -> tuple[WordVectors, Callable[[str, Sequence[int]], Tensor | None]]:
        """The table of word vectors, and a function from a word and its token ids to its vector."""
        embeddings = self.model.embeddings
        if self.table is None:
            ids = sorted(self._whole_words)
            words = WordVectors([self._whole_words[i] for i in ids], embeddings[ids])
            unknown = self.model.tokenizer.unk_token_id

            def mean(word: str, ids: Sequence[int]) -> Tensor | None:
                return None if not ids or unknown in ids else embeddings[list(ids)].mean(0)

            return words, mean
        loaded = self.table
        rows = [row for row, word in enumerate(loaded.words) if is_word(word)]
        table = WordVectors([loaded.words[row] for row in rows], loaded.vectors[rows].to(self.model.device))

        def vector(word: str, ids: Sequence[int]) -> Tensor | None:
            row = table.row_of(word)
            return None if row is None else table.vectors[row]

        return table, vector

    @cached_property
    def _whole_words(self) -> dict[int, str]:
        """The entries of the vocabulary that are words, by id: tokenized again, each gives exactly that token."""
        tokenizer = self.model.tokenizer
        size = min(len(tokenizer), len(self.model.embeddings))
        ids = sorted(set(range(size)) - set(tokenizer.all_special_ids))
        words = [tokenizer.decode([i]).strip() for i in ids]
        round_trips = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
        entries = zip(ids, words, round_trips, strict=True)
        return {i: word for i, word, tokens in entries if tokens == [i] and [w for w, _ in split(word)] == [word]}

    @cached_property
    def _allowed(self) -> Tensor:
        """Bool [V]: True at whole words."""
        allowed = torch.zeros(len(self.model.embeddings), dtype=torch.bool)
        allowed[list(self._whole_words)] = True
        return allowed.to(self.model.device)
