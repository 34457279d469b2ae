import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.errors import UserError
from harness.tasks.ragged_arrays import Strings
from harness.tasks.tokenization import collate, concatenate, encode, encode_in_chunks
from tests.support.tiny_tasks import LETTERS, bytelevel, questions, task, wordpiece

TOKENIZERS = {"wordpiece": wordpiece(), "bytelevel": bytelevel()}
words = st.text(LETTERS + "é", min_size=1, max_size=6)
texts = st.lists(words, min_size=1, max_size=30).map(" ".join)


def sentences(*texts, label=1):
    return Dataset.from_dict(
        {"id": [f"s{i}" for i in range(len(texts))], "text": list(texts), "label": [label] * len(texts)}
    )


def test_word_ids_and_token_types_of_a_sentence():
    encoded = encode(sentences("the cat ab"), task("classification"), TOKENIZERS["wordpiece"], 16)
    assert encoded.word_ids[0].tolist() == [-1, 0, 1, 2, 2, -1]
    assert encoded.token_type_ids is not None
    assert encoded.token_type_ids[0].tolist() == [0] * 6
    assert encoded.labels.dtype == np.int64
    assert [*encoded.ids] == ["s0"]


def test_pairs_number_the_words_of_each_sentence():
    rows = Dataset.from_dict({"id": ["p"], "text": ["the cat"], "text_pair": ["a mat"], "label": [2.5]})
    encoded = encode(rows, task("regression"), TOKENIZERS["wordpiece"], 16)
    assert encoded.word_ids[0].tolist() == [-1, 0, 1, -1, 0, 1, -1]
    assert encoded.token_type_ids[0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert encoded.labels.tolist() == [2.5]
    assert encoded.labels.dtype == np.float32


def test_no_token_types_where_the_model_has_none():
    encoded = encode(sentences("the cat"), task("classification"), TOKENIZERS["bytelevel"], 16)
    assert encoded.token_type_ids is None
    assert "token_type_ids" not in collate(encoded, [0], pad_token_id=1).inputs


def test_long_sentences_are_truncated():
    encoded = encode(sentences("cat " * 50, "cat"), task("classification"), TOKENIZERS["wordpiece"], 8)
    assert encoded.lengths.tolist() == [8, 3]


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="Slow is not a fast tokenizer"):
        encode(sentences("cat"), task("classification"), Slow(), 8)


def test_collate_pads_at_the_end():
    encoded = encode(
        sentences("the cat", "cat", "the cat sat on a mat"), task("classification"), TOKENIZERS["wordpiece"], 16
    )
    batch = collate(encoded, [1, 0], pad_token_id=9, pad_to_multiple_of=3)
    assert batch.ids == ("s1", "s0")
    assert batch.inputs["input_ids"].tolist()[0][3:] == [9, 9, 9]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert batch.word_ids.tolist() == [[-1, 0, -1, -1, -1, -1], [-1, 0, 1, -1, -1, -1]]
    assert batch.lengths.tolist() == [3, 4]
    assert batch.labels.dtype == torch.int64


def test_collate_of_windows():
    encoded = encode(
        questions(("who", "the cat sat", "cat"), ("who", "a mat", None)), task("qa"), TOKENIZERS["wordpiece"], 16
    )
    batch = collate(encoded, [0, 1], pad_token_id=0)
    assert batch.labels.tolist() == [[4, 4], [0, 0]]
    assert batch.answer_mask.tolist() == [[1, 0, 0, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0, 0]]


def test_an_answer_at_the_beginning_of_a_window_has_no_space_before_it():
    """Byte-level tokenizers count the space before the first word of a window, and before no other word."""
    context = "0 " * 10 + "000000 " * 5 + "a0"
    encoded = encode(questions(("0", context, "a0")), task("qa"), TOKENIZERS["bytelevel"], 8)
    row = len(encoded) - 1
    offsets, mask, (first, last) = encoded.offsets[row], encoded.answer_mask[row], encoded.labels[row]
    assert not mask[1:first].any(), "the first token of the window"
    assert context[offsets[first, 0] : offsets[last, 1]] == "a0"


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60)
@given(data=st.data(), question=texts, context=texts, max_length=st.integers(8, 40))
def test_windows_fit_cover_the_context_and_find_the_answer(name, data, question, context, max_length):
    pieces = context.split(" ")
    first = data.draw(st.integers(0, len(pieces) - 1))
    last = data.draw(st.integers(first, len(pieces) - 1))
    answer = " ".join(pieces[first : last + 1])
    start = len(" ".join(pieces[:first])) + (first > 0)
    rows = Dataset.from_list(
        [{"id": "q", "question": question, "context": context, "answers": [{"text": answer, "start": start}]}]
    )
    encoded = encode(rows, task("qa"), TOKENIZERS[name], max_length)
    assert encoded.lengths.max() <= max_length
    covered = set()
    for row in range(len(encoded)):
        offsets, mask, (a, b) = encoded.offsets[row], encoded.answer_mask[row], encoded.labels[row]
        assert mask[0]
        covered |= {c for token in np.flatnonzero(mask)[1:] for c in range(*offsets[token])}
        if (a, b) != (0, 0):
            assert mask[a]
            assert mask[b]
            assert context[offsets[a, 0] : offsets[b, 1]] == answer
        else:
            context_tokens = np.flatnonzero(mask)[1:]
            contains_answer = offsets[context_tokens[0], 0] <= start and offsets[context_tokens[-1], 1] >= start + len(
                answer
            )
            assert not contains_answer
    assert {c for c, letter in enumerate(context) if letter != " "} <= covered
    assert encoded.examples.tolist() == [0] * len(encoded)
    assert [*encoded.ids] == [f"q#{window}" for window in range(len(encoded))]


def test_concatenated_chunks_equal_the_full_data_set(monkeypatch):
    from harness.tasks import tokenization as module

    rows = questions(("who", "the cat sat on a mat " * 4, "sat"), ("who", "a mat", None), ("where", "é cat", "cat"))
    for data, kind in ((rows, "qa"), (sentences("the cat", "", "a mat sat é", label=0), "classification")):
        full = encode(data, task(kind), TOKENIZERS["wordpiece"], 16, places=True)
        monkeypatch.setattr(module, "CHUNK", 1)
        chunks = list(encode_in_chunks(data, task(kind), TOKENIZERS["wordpiece"], 16, places=True))
        assert len(chunks) == len(full) > 2
        joined = concatenate(chunks)
        monkeypatch.undo()
        assert joined.arrays().keys() == full.arrays().keys()
        for name, array in full.arrays().items():
            assert np.array_equal(array, joined.arrays()[name]), name
            assert array.dtype == joined.arrays()[name].dtype
        assert [*joined.ids] == [*full.ids]


def test_an_empty_split_has_no_rows():
    encoded = encode(sentences(), task("classification"), TOKENIZERS["wordpiece"], 16)
    assert len(encoded) == len(encoded.ids) == len(encoded.lengths) == 0


def test_strings_round_trip():
    ids = Strings.of(["é", "", "东京", "a" * 99])
    assert [*ids] == ["é", "", "东京", "a" * 99]
    assert (ids[-1], ids[1:3]) == ("a" * 99, ["", "东京"])
    with pytest.raises(IndexError):
        ids[4]
