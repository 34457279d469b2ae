"""Data augmentation: algorithm 1 of the paper (appendix A).

Of each sentence 20 variants. In each, every word is replaced with probability 0.4: a word that is a single piece by one
of the 15 that the masked language model finds likeliest in its place, any other by one of its 15 nearest neighbours in
a table of word vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from harness import Augmentation, MethodConfig
from harness.api.method import MaskedLanguageModel, Row
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive

from . import vectors
from .vectors import WordVectors, best

CHUNK = 64
"""Examples whose sentences are put to the language model together."""

SENTENCES = ("text", "text_pair")


class AugmentConfig(MethodConfig):
    """Options of tinybert's `augment`; the defaults are the paper's (appendix A)."""

    model_config = ConfigDict(strict=True)

    variants: int = Field(20, gt=0, description="of each sentence, beside the original (N_a)")
    probability: float = Field(0.4, gt=0, le=1, description="with which a word is replaced (p_t)")
    candidates: int = Field(15, gt=0, description="among which its replacement is drawn, evenly (K)")
    model: str | None = Field(
        None,
        description="hub id or folder of a masked language model; null: the first teacher's, as it was pretrained",
    )
    vectors: str | None = Field(
        None, description="a file of word vectors in GloVe's text format; null: the model's own input embeddings"
    )
    seed: int = Field(1, ge=0, description="of all that is drawn; the same variants serve every seed of the suite")


def augmentation(config: AugmentConfig) -> Augmentation:
    """What the host is to make before training."""
    return Augmentation(
        partial(augmented, config),
        options=config.model_dump(exclude={"model", "vectors"}),
        model=config.model,
        files=() if config.vectors is None else (config.vectors,),
    )


def augmented(
    config: AugmentConfig, rows: Iterable[Row], model: MaskedLanguageModel, files: Sequence[Path]
) -> Iterator[Row]:
    """Each row, then its variants. What is drawn depends on the seed and the row's id alone."""
    replacements = Replacements(model, vectors.read(files[0]) if files else None, config.candidates)
    each = iter(rows)
    while chunk := list(islice(each, CHUNK)):
        texts = dict.fromkeys(row[column] for row in chunk for column in SENTENCES if column in row)
        words = dict(zip(texts, replacements.of(list(texts)), strict=True))
        for row in chunk:
            yield row
            yield from _variants(row, words, config)


@dataclass(frozen=True)
class Word:
    """``text[start:end]``, and what may stand in its place."""

    start: int
    end: int
    candidates: Sequence[str] = ()


def split(text: str) -> list[tuple[str, tuple[int, int]]]:
    """The words of a text and where they stand: what blanks and punctuation part, as BERT does; no punctuation."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return [(word, span) for word, span in BertPreTokenizer().pre_tokenize_str(text) if is_word(word)]


def is_word(piece: str) -> bool:
    """Whether there is a letter or digit in it."""
    return any(character.isalnum() for character in piece)


def _variants(row: Row, words: Mapping[str, Sequence[Word]], config: AugmentConfig) -> Iterator[Row]:
    """Of each sentence of the row, the other one as it is; none twice, and none that is the original."""
    count = 0
    for column in SENTENCES:
        if column not in row:
            continue
        text = row[column]
        dice = SeededChoice(derive(config.seed, str(row["id"]), column))
        seen = {text}
        for _ in range(config.variants):
            variant = _variant(text, words[text], dice, config.probability)
            if variant not in seen:
                seen.add(variant)
                count += 1
                yield {**row, "id": f"{row['id']}~{count}", column: variant}


def _variant(text: str, words: Sequence[Word], dice: SeededChoice, probability: float) -> str:
    pieces, end = [], 0
    for word in words:
        if word.candidates and dice.chance(probability):
            pieces += [text[end : word.start], dice.pick(word.candidates)]
            end = word.end
    return "".join([*pieces, text[end:]])


@dataclass(frozen=True)
class Reading:
    """A sentence as the language model reads it: tokens with the special ones, which those are, and their spans."""

    ids: list[int]
    special: list[int]
    spans: list[tuple[int, int]]

    def tokens_of(self, start: int, end: int) -> list[int]:
        """Places of the tokens that overlap a span of the text."""
        real = ((place, span) for place, span in enumerate(self.spans) if not self.special[place])
        return [place for place, (first, last) in real if first < end and start < last]

    def masked(self, place: int, mask: int, longest: int) -> tuple[list[int], int]:
        """The tokens with the mask at `place`, and where it stands; a window around it of what is too long."""
        text = [i for i, special in enumerate(self.special) if not special]
        before, after = self.ids[: text[0]], self.ids[text[-1] + 1 :]
        room = longest - len(before) - len(after)
        inside = place - text[0]
        first = max(0, min(inside - room // 2, len(text) - room))
        ids = [self.ids[i] for i in text[first : first + room]]
        ids[inside - first] = mask
        return [*before, *ids, *after], len(before) + inside - first


@dataclass
class Replacements:
    """Finds the candidates of words. Without a `table` the vector of a word is the mean of its pieces' input
    embeddings, and its neighbours are the vocabulary's whole words."""

    model: MaskedLanguageModel
    table: WordVectors | None
    count: int
    _near: dict[str, list[str]] = field(default_factory=dict)

    def of(self, texts: Sequence[str]) -> list[list[Word]]:
        """The words of each text, with their candidates."""
        readings = self._read(texts)
        found: list[list[Word]] = [[] for _ in texts]
        masked: list[tuple[int, int, int]] = []  # text, word, place
        others: list[tuple[int, int, str, list[int]]] = []  # text, word, itself, pieces
        for index, (text, reading) in enumerate(zip(texts, readings, strict=True)):
            for number, (word, (start, end)) in enumerate(split(text)):
                found[index].append(Word(start, end))
                places = reading.tokens_of(start, end)
                if len(places) == 1 and self._is_piece(word, text, reading, places[0]):
                    masked.append((index, number, places[0]))
                else:
                    others.append((index, number, word, [reading.ids[place] for place in places]))
        self._find_near({word: pieces for _, _, word, pieces in others if word not in self._near})
        for index, number, word, _ in others:
            found[index][number] = replace(found[index][number], candidates=self._near[word])
        for (index, number, _), candidates in zip(masked, self._predicted(readings, masked), strict=True):
            found[index][number] = replace(found[index][number], candidates=candidates)
        return found

    def _read(self, texts: Sequence[str]) -> list[Reading]:
        tokens = self.model.tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True)
        columns = (tokens["input_ids"], tokens["special_tokens_mask"], tokens["offset_mapping"])
        return [Reading(*each) for each in zip(*columns, strict=True)]

    def _is_piece(self, word: str, text: str, reading: Reading, place: int) -> bool:
        """Whether the token is the whole word and nothing else, and known to the vocabulary."""
        start, end = reading.spans[place]
        return text[start:end].strip() == word and reading.ids[place] not in self.model.tokenizer.all_special_ids

    def _predicted(self, readings: Sequence[Reading], asked: Sequence[tuple[int, int, int]]) -> list[list[str]]:
        """The likeliest whole words at each place but the one that stands there."""
        words, mask = self._whole_words, int(self.model.tokenizer.mask_token_id)
        inputs = [readings[index].masked(place, mask, self.model.longest) for index, _, place in asked]
        found: list[list[str]] = [[] for _ in asked]
        for numbers, logits in self.model.predict([ids for ids, _ in inputs], [place for _, place in inputs]):
            logits = logits.masked_fill(~self._allowed, -torch.inf)
            there = [readings[asked[number][0]].ids[asked[number][2]] for number in numbers]
            logits[torch.arange(len(numbers)), there] = -torch.inf
            for number, ids in zip(numbers, best(logits, self.count), strict=True):
                found[number] = [words[i] for i in ids]
        return found

    def _find_near(self, asked: Mapping[str, Sequence[int]]) -> None:
        """Neighbours of words, given their pieces. A word that the table does not have has none, and stays."""
        self._near |= {word: [] for word in asked}
        table, vector = self._lookup
        known = {word: each for word, pieces in asked.items() if (each := vector(word, pieces)) is not None}
        if known:
            own = [table.row_of(word) for word in known]
            self._near |= zip(known, table.nearest(torch.stack(list(known.values())), own, self.count), strict=True)

    @cached_property
    def _lookup(self) -> tuple[WordVectors, Callable[[str, Sequence[int]], Tensor | None]]:
        """The table, and a word's vector."""
        given, embeddings = self.table, self.model.embeddings
        if given is None:
            ids = sorted(self._whole_words)
            words = WordVectors([self._whole_words[i] for i in ids], embeddings[ids])
            unknown = self.model.tokenizer.unk_token_id

            def mean(word: str, pieces: Sequence[int]) -> Tensor | None:
                return None if not pieces or unknown in pieces else embeddings[list(pieces)].mean(0)

            return words, mean
        kept = [row for row, word in enumerate(given.words) if is_word(word)]
        table = WordVectors([given.words[row] for row in kept], given.vectors[kept].to(self.model.device))

        def vector(word: str, pieces: Sequence[int]) -> Tensor | None:
            row = table.row_of(word)
            return None if row is None else table.vectors[row]

        return table, vector

    @cached_property
    def _whole_words(self) -> dict[int, str]:
        """The entries of the vocabulary that are words, by id: written out, each is read as that one token again."""
        tokenizer = self.model.tokenizer
        known = min(len(tokenizer), len(self.model.embeddings))
        ids = sorted(set(range(known)) - set(tokenizer.all_special_ids))
        words = [tokenizer.decode([i]).strip() for i in ids]
        read = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
        pairs = zip(ids, words, read, strict=True)
        return {i: word for i, word, again in pairs if again == [i] and [each for each, _ in split(word)] == [word]}

    @cached_property
    def _allowed(self) -> Tensor:
        """Bool [V]: the whole words."""
        allowed = torch.zeros(len(self.model.embeddings), dtype=torch.bool)
        allowed[list(self._whole_words)] = True
        return allowed.to(self.model.device)
