"""What a teacher with another tokenizer reads: the very text that the student's row shows."""

import unicodedata

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tasks.cross_tokenizer import retokenize
from harness.tasks.tokenization import concatenate, encode
from tests.support.tiny_tasks import questions, task
from tests.support.tokenizer_factory import WORDS, bytelevel, corpus, wordpiece

READERS = {
    "wordpiece": wordpiece(),
    "bytelevel": bytelevel(),
    "with blanks": bytelevel(trim_offsets=False),
}
PAIRS = [("wordpiece", "bytelevel"), ("bytelevel", "wordpiece"), ("with blanks", "wordpiece")]
texts = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=30))


def sentences(*texts, pairs=None):
    columns = {"id": [f"s{i}" for i in range(len(texts))], "text": list(texts), "label": [1] * len(texts)}
    return Dataset.from_dict(columns | ({"text_pair": list(pairs)} if pairs else {}))


def letters(text, begin, end):
    """The characters that count: (place, letter), without blanks, and without marks, which BERT's tokenizer drops."""
    places = (place for place in range(begin, end) if not text[place].isspace())
    return {(place, text[place]) for place in places if unicodedata.category(text[place]) != "Mn"}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None)
@given(first=texts, second=texts)
def test_places_are_offsets_without_outer_blanks_and_specials_apart(name, first, second):
    tokenizer = READERS[name]
    encoded = encode(sentences(first, pairs=[second]), task("classification"), tokenizer, 100, places=True)
    tokens = tokenizer([first], [second], truncation=True, max_length=100, return_offsets_mapping=True)
    runs, inside_run = 0, False
    for index, (place, offset, sentence) in enumerate(
        zip(encoded.places[0], tokens["offset_mapping"][0], tokens.sequence_ids(0), strict=True)
    ):
        if sentence is None:
            runs += index > 0 and not inside_run
            inside_run = index > 0
            assert place.tolist() == [-1 - runs, 0, 1]
            continue
        inside_run = False
        text = (first, second)[sentence]
        assert place[0] == sentence
        assert letters(text, *place[1:]) == letters(text, *offset)
        if place[1] < place[2]:
            assert not text[place[1]].isspace()
            assert not text[place[2] - 1].isspace()


def test_places_are_not_kept_unless_asked_for():
    for kind, data in {"classification": sentences("sun"), "qa": questions(("who", "the sun", "sun"))}.items():
        assert encode(data, task(kind), wordpiece(), 16).places is None


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_whole_text_is_read_as_it_stands(student, teacher):
    data = sentences(*(f" {text}  " for text in corpus(20, seed=3)), pairs=corpus(20, seed=4))
    shown = encode(data, task("classification"), READERS[student], 400, places=True)
    along = concatenate(retokenize(shown, data, READERS[teacher], 400))
    expected = READERS[teacher](data["text"][:], data["text_pair"][:])
    assert [along.input_ids[row].tolist() for row in range(20)] == expected["input_ids"]
    assert ([*along.ids], along.labels.tolist()) == ([*shown.ids], shown.labels.tolist())
    assert (along.token_type_ids is None) == (teacher != "wordpiece")


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_where_the_student_is_cut_so_is_its_teacher_and_nothing_is_lost(student, teacher):
    long = "unbelievable café 東京 " * 10
    data = sentences(long, pairs=["привет мир " * 10])
    shown = encode(data, task("classification"), READERS[student], 24, places=True)
    along = concatenate(retokenize(shown, data, READERS[teacher], None))
    for sentence, text in enumerate((data["text"][0], data["text_pair"][0])):
        theirs, own = ([place[1:] for place in each.places[0] if place[0] == sentence] for each in (along, shown))
        covered = set().union(*(letters(text, *span) for span in theirs))
        assert covered == letters(text, 0, max(end for _, end in own))
        assert len(covered) < len(letters(text, 0, len(text)))
    if teacher == "bytelevel":
        assert along.lengths[0] > 24


def test_a_teacher_reads_no_more_than_its_model_takes():
    data = sentences("running runs 12,5% behind " * 5)
    shown = encode(data, task("regression"), wordpiece(), 60, places=True)
    whole = concatenate(retokenize(shown, data, bytelevel(), None))
    cut = concatenate(retokenize(shown, data, bytelevel(), 30))
    assert whole.lengths[0] > cut.lengths[0] == 30
    assert np.array_equal(cut.places[0][:29], whole.places[0][:29])
    assert cut.places[0][-1].tolist() == [-2, 0, 1]


def test_a_text_that_the_student_does_not_see_is_not_read():
    data = sentences("", "\u200b")
    along = concatenate(
        retokenize(encode(data, task("classification"), wordpiece(), 16, places=True), data, bytelevel(), 16)
    )
    assert along.lengths.tolist() == [2, 2]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_windows_row_by_row(student, teacher):
    context = "  " + "  ".join(corpus(6, seed=5))
    answer = context.split("  ")[3]
    data = questions(("who runs", context, answer), ("where", "sun lamp café", "café"), ("why", "coal", None))
    shown = encode(data, task("qa"), READERS[student], 40, places=True)
    along = concatenate(retokenize(shown, data, READERS[teacher], None))
    assert [*along.ids] == [*shown.ids]
    assert along.examples.tolist() == shown.examples.tolist()
    assert len(along) >= 5
    answered = 0
    for row in range(len(along)):
        text, wanted = data[int(along.examples[row])]["context"], data[int(along.examples[row])]["answers"]
        theirs, own = ([place[1:] for place in each.places[row] if place[0] == 1] for each in (along, shown))
        begin, end = min(b for b, _ in own), max(e for _, e in own)
        assert set().union(*(letters(text, *span) for span in theirs)) == letters(text, begin, end)
        in_context = along.places[row][:, 0] == 1
        in_context[0] = True
        assert along.answer_mask[row].tolist() == in_context.tolist()
        first, last = along.labels[row]
        if first:
            answered += 1
            span = along.places[row][first, 1], along.places[row][last, 2]
            assert letters(text, *span) == letters(
                text, wanted[0]["start"], wanted[0]["start"] + len(wanted[0]["text"])
            )
        assert bool(first) == bool(shown.labels[row][0])
    assert answered >= 2


def test_an_answer_beyond_what_the_model_takes_is_none():
    data = questions(("who", "sun lamp fire night cave 東京", "東京"))
    shown = encode(data, task("qa"), wordpiece(), 40, places=True)
    assert np.all(concatenate(retokenize(shown, data, bytelevel(), None)).labels > 0)
    assert concatenate(retokenize(shown, data, bytelevel(), 12)).labels.tolist() == [[0, 0]]
