"""Rows of token classification: every word is labelled once, at its first token, where it has the most context."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.batch import IGNORED
from harness.tasks.cross_tokenizer import retokenize
from harness.tasks.tokenization import collate, concatenate, encode
from tests.support.tiny_tasks import task
from tests.support.tokenizer_factory import WORDS, bytelevel, wordpiece

TOKENIZERS = {"wordpiece": wordpiece(), "bytelevel": bytelevel(), "with blanks": bytelevel(trim_offsets=False)}
TASK = task("token_classification")
words = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=25)


def sentences(*rows):
    """Words, with tags that count up from 0 to 4."""
    tags = [[index % 5 for index in range(len(row))] for row in rows]
    return Dataset.from_dict({"id": [f"s{i}" for i in range(len(rows))], "tokens": list(rows), "tags": tags})


def labelled(encoded):
    """(example, word) -> (row, token, label) of each labelled token."""
    return [
        ((int(encoded.examples[row]), int(encoded.word_ids[row][token])), (row, token, int(encoded.labels[row][token])))
        for row in range(len(encoded))
        for token in np.flatnonzero(encoded.labels[row] != IGNORED).tolist()
    ]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=40)
@given(rows=st.lists(words, min_size=1, max_size=3), max_length=st.integers(4, 40))
def test_every_word_with_tokens_is_labelled_once_at_its_first_token(name, rows, max_length):
    data, tokenizer = sentences(*rows), TOKENIZERS[name]
    encoded = encode(data, TASK, tokenizer, max_length, places=True)
    assert encoded.lengths.max() <= max_length
    found = labelled(encoded)
    assert len(dict(found)) == len(found), "no word is labelled twice"
    for (example, word), (row, token, label) in found:
        assert label == word % 5
        text = " ".join(rows[example])
        begin = sum(len(before) + 1 for before in rows[example][:word])
        _, first, end = encoded.places[row][token]
        assert begin <= first < end <= begin + len(rows[example][word]), "the token is in its word"
        whole = tokenizer(text, return_offsets_mapping=True)
        earlier = [span for span in whole["offset_mapping"] if text[begin : span[0]] == "" and begin <= span[0] < first]
        assert not [span for span in earlier if text[span[0] : span[1]].strip()], "no token of the word comes before"
    for example, row in enumerate(rows):  # words of plain letters always have tokens
        missing = set(range(len(row))) - {word for (one, word), _ in found if one == example}
        assert not [row[index] for index in missing if row[index].isascii() and row[index].isalnum()]


@pytest.mark.parametrize("max_length", [8, 13, 50])
def test_a_word_is_labelled_in_the_window_with_the_most_context(max_length):
    row = [WORDS[index % 9] for index in range(40)]
    encoded = encode(sentences(row), TASK, wordpiece(), max_length, places=True)
    assert list(encoded.ids) == [f"s0#{number}" for number in range(len(encoded))]
    spans = [encoded.places[index][1:-1, 1:] for index in range(len(encoded))]  # without [CLS] and [SEP]
    complete = wordpiece()(" ".join(row))["input_ids"]
    whole = encode(sentences(row), TASK, wordpiece(), 999, places=True)
    position = {tuple(place): index for index, place in enumerate(whole.places[0][1:-1, 1:].tolist())}
    assert len(position) == len(complete) - 2

    def context(window, place):
        """Tokens to the nearer end of the window; the text's own ends do not count."""
        index = [position[tuple(each)] for each in spans[window].tolist()]
        before, after = position[place] - index[0], index[-1] - position[place]
        return min(before if index[0] else 999, after if index[-1] < len(position) - 1 else 999)

    for (_, _), (window, token, _) in labelled(encoded):
        place = tuple(encoded.places[window][token, 1:].tolist())
        others = [w for w in range(len(spans)) if place in {tuple(each) for each in spans[w].tolist()}]
        assert context(window, place) >= max(context(other, place) for other in others) - 1


def test_rows_are_collated_with_labels_and_word_numbers():
    encoded = encode(sentences(["sun", "lamp"], ["unbelievable"]), TASK, wordpiece(), 32)
    batch = collate(encoded, [0, 1], 0, pad_to_multiple_of=8)
    assert batch.kind == "token_classification"
    assert batch.labels.shape == batch.inputs["input_ids"].shape == batch.word_ids.shape
    assert batch.labels.dtype == batch.inputs["input_ids"].dtype
    assert (batch.labels[1] != IGNORED).sum() == 1
    assert batch.labels[1, 1] == 0
    assert (batch.labels[~batch.mask] == IGNORED).all()
    part = batch.part(slice(0, 1), tokens=4)
    assert part.labels.tolist() == batch.labels[:1, :4].tolist()


def test_an_example_without_words_has_one_row_without_labels():
    encoded = encode(sentences([], ["sun"]), TASK, wordpiece(), 16)
    assert list(encoded.ids) == ["s0#0", "s1#0"]
    assert (encoded.labels[0] == IGNORED).all()


@pytest.mark.parametrize(("student", "teacher"), [("wordpiece", "bytelevel"), ("bytelevel", "wordpiece")])
@settings(max_examples=30)
@given(row=st.lists(st.sampled_from(WORDS), max_size=25), max_length=st.integers(6, 30))
def test_a_teachers_rows_label_the_same_words(student, teacher, row, max_length):
    data = sentences(row)
    students = encode(data, TASK, TOKENIZERS[student], max_length, places=True)
    teachers = concatenate(retokenize(students, data, TOKENIZERS[teacher], None))
    ours, theirs = ({key: value[::2] for key, value in labelled(each)} for each in (students, teachers))
    assert ours == theirs
