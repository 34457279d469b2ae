"""Retokenized rows cover exactly the text of the student's rows."""

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

TOKENIZERS = {
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
    """(index, letter) of each character, except white space and marks, which BERT's tokenizer drops."""
    indices = (index for index in range(begin, end) if not text[index].isspace())
    return {(index, text[index]) for index in indices if unicodedata.category(text[index]) != "Mn"}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60)
@given(first=texts, second=texts)
def test_places_are_offsets_without_white_space_and_special_tokens_have_their_own_sentences(name, first, second):
    tokenizer = TOKENIZERS[name]
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


def test_places_are_none_unless_requested():
    for kind, data in {"classification": sentences("sun"), "qa": questions(("who", "the sun", "sun"))}.items():
        assert encode(data, task(kind), wordpiece(), 16).places is None


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_complete_text_is_tokenized_unchanged(student, teacher):
    data = sentences(*(f" {text}  " for text in corpus(20, seed=3)), pairs=corpus(20, seed=4))
    student_rows = encode(data, task("classification"), TOKENIZERS[student], 400, places=True)
    teacher_rows = concatenate(retokenize(student_rows, data, TOKENIZERS[teacher], 400))
    expected = TOKENIZERS[teacher](data["text"][:], data["text_pair"][:])
    assert [teacher_rows.input_ids[row].tolist() for row in range(20)] == expected["input_ids"]
    assert ([*teacher_rows.ids], teacher_rows.labels.tolist()) == ([*student_rows.ids], student_rows.labels.tolist())
    assert (teacher_rows.token_type_ids is None) == (teacher != "wordpiece")


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_truncated_text_is_truncated_for_the_teacher_without_loss(student, teacher):
    long = "unbelievable café 東京 " * 10
    data = sentences(long, pairs=["привет мир " * 10])
    student_rows = encode(data, task("classification"), TOKENIZERS[student], 24, places=True)
    teacher_rows = concatenate(retokenize(student_rows, data, TOKENIZERS[teacher], None))
    for sentence, text in enumerate((data["text"][0], data["text_pair"][0])):
        teacher_spans, student_spans = (
            [place[1:] for place in encoded.places[0] if place[0] == sentence]
            for encoded in (teacher_rows, student_rows)
        )
        covered = set().union(*(letters(text, *span) for span in teacher_spans))
        assert covered == letters(text, 0, max(end for _, end in student_spans))
        assert len(covered) < len(letters(text, 0, len(text)))
    if teacher == "bytelevel":
        assert teacher_rows.lengths[0] > 24


def test_rows_are_truncated_to_the_teachers_max_length():
    data = sentences("running runs 12,5% behind " * 5)
    student_rows = encode(data, task("regression"), wordpiece(), 60, places=True)
    full = concatenate(retokenize(student_rows, data, bytelevel(), None))
    truncated = concatenate(retokenize(student_rows, data, bytelevel(), 30))
    assert full.lengths[0] > truncated.lengths[0] == 30
    assert np.array_equal(truncated.places[0][:29], full.places[0][:29])
    assert truncated.places[0][-1].tolist() == [-2, 0, 1]


def test_a_text_without_tokens_is_empty_for_the_teacher():
    data = sentences("", "\u200b")
    teacher_rows = concatenate(
        retokenize(encode(data, task("classification"), wordpiece(), 16, places=True), data, bytelevel(), 16)
    )
    assert teacher_rows.lengths.tolist() == [2, 2]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_windows_cover_the_same_text_row_by_row(student, teacher):
    context = "  " + "  ".join(corpus(6, seed=5))
    answer = context.split("  ")[3]
    data = questions(("who runs", context, answer), ("where", "sun lamp café", "café"), ("why", "coal", None))
    student_rows = encode(data, task("qa"), TOKENIZERS[student], 40, places=True)
    teacher_rows = concatenate(retokenize(student_rows, data, TOKENIZERS[teacher], None))
    assert [*teacher_rows.ids] == [*student_rows.ids]
    assert teacher_rows.examples.tolist() == student_rows.examples.tolist()
    assert len(teacher_rows) >= 5
    answered = 0
    for row in range(len(teacher_rows)):
        example = data[int(teacher_rows.examples[row])]
        text, answers = example["context"], example["answers"]
        teacher_spans, student_spans = (
            [place[1:] for place in encoded.places[row] if place[0] == 1] for encoded in (teacher_rows, student_rows)
        )
        begin, end = min(b for b, _ in student_spans), max(e for _, e in student_spans)
        assert set().union(*(letters(text, *span) for span in teacher_spans)) == letters(text, begin, end)
        in_context = teacher_rows.places[row][:, 0] == 1
        in_context[0] = True
        assert teacher_rows.answer_mask[row].tolist() == in_context.tolist()
        first, last = teacher_rows.labels[row]
        if first:
            answered += 1
            span = teacher_rows.places[row][first, 1], teacher_rows.places[row][last, 2]
            assert letters(text, *span) == letters(
                text, answers[0]["start"], answers[0]["start"] + len(answers[0]["text"])
            )
        assert bool(first) == bool(student_rows.labels[row][0])
    assert answered >= 2


def test_an_answer_that_is_truncated_away_has_no_span():
    data = questions(("who", "sun lamp fire night cave 東京", "東京"))
    student_rows = encode(data, task("qa"), wordpiece(), 40, places=True)
    assert np.all(concatenate(retokenize(student_rows, data, bytelevel(), None)).labels > 0)
    assert concatenate(retokenize(student_rows, data, bytelevel(), 12)).labels.tolist() == [[0, 0]]
