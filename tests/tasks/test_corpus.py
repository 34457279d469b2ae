"""Unlabelled text: which texts are sampled, in which order, and how they are tokenized."""

import pytest
from datasets import Dataset

from harness.api.errors import UserError
from harness.config.text_stage_schema import GeneralSpec
from harness.models import tokenizers
from harness.tasks.corpus import TextCorpus, encode_text, load_text
from harness.tasks.tokenization import concatenate

WORDS = ["sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song"]


def spec(**keys):
    return GeneralSpec(**{"data": "x", "steps": 4, "batch_size": 2, **keys})


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(f"line {i}" if i % 3 else "  " for i in range(60)) + "\n", encoding="utf-8")
    return path


def test_non_blank_lines_are_sampled_with_the_seed(corpus):
    first, same, other = (load_text(spec(seed=seed), str(corpus)) for seed in (1, 1, 2))
    texts = first.texts["text"][:]
    assert len(texts) == len(set(texts)) == 8  # 4 steps of 2
    assert all(text.strip() for text in texts)
    assert texts == same.texts["text"][:]
    assert first.fingerprint == same.fingerprint
    assert texts != other.texts["text"][:]
    assert first.fingerprint != other.fingerprint


def test_more_steps_extend_the_same_sample(corpus):
    few, many = load_text(spec(steps=4), str(corpus)), load_text(spec(steps=12), str(corpus))
    assert many.texts["text"][:8] == few.texts["text"][:]
    assert len(load_text(spec(steps=999), str(corpus)).texts) == 40  # all non-blank lines


def test_wildcards_match_every_file(tmp_path, corpus):
    (tmp_path / "more.txt").write_text("one more\n", encoding="utf-8")
    texts = load_text(spec(steps=999), str(tmp_path / "*.txt")).texts["text"][:]
    assert len(texts) == 41
    assert "one more" in texts


def test_a_folder_in_the_hubs_layout(tmp_path):
    folder = tmp_path / "wiki"
    folder.mkdir()
    Dataset.from_dict({"article": ["a b", "", "c d"], "n": [1, 2, 3]}).to_parquet(folder / "train.parquet")
    text = load_text(spec(column="article"), str(folder))
    assert sorted(text.texts["text"][:]) == ["a b", "c d"]
    with pytest.raises(UserError, match="no column 'text'"):
        load_text(spec(), str(folder))
    with pytest.raises(UserError, match="no split 'test'"):
        load_text(spec(split="test", column="article"), str(folder))
    with pytest.raises(UserError, match=r"has type .*int64.*expected text"):
        load_text(spec(column="n"), str(folder))


def test_only_blank_lines_is_an_error(tmp_path):
    (tmp_path / "blank.txt").write_text("\n  \n", encoding="utf-8")
    with pytest.raises(UserError, match="no text in"):
        load_text(spec(), str(tmp_path / "blank.txt"))


def test_another_encoding_is_an_error(tmp_path):
    (tmp_path / "latin.txt").write_bytes("fünf\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin.txt cannot be read as UTF-8"):
        load_text(spec(), str(tmp_path / "latin.txt"))


def test_long_texts_are_split_into_rows_without_losing_tokens():
    tokenizer = tokenizers.whole_word([" ".join(WORDS)])
    lines = [" ".join(WORDS), "sun lamp", "​", " ".join(WORDS * 2)]
    text = TextCorpus(Dataset.from_dict({"text": lines}), "fingerprint")
    encoded = concatenate(encode_text(text, tokenizer, 8, rows=99))
    assert encoded.kind == "text"
    assert encoded.lengths.max() == 8
    for example, line in enumerate(lines):
        rows = [i for i in range(len(encoded)) if encoded.examples[i] == example]
        inner = [token for row in rows for token in encoded.input_ids[row][1:-1].tolist()]
        assert inner == tokenizer(line, add_special_tokens=False)["input_ids"]
    assert 2 not in encoded.examples  # nothing in it but special tokens
    assert len(concatenate(encode_text(text, tokenizer, 8, rows=3))) == 3
    assert len(set(encoded.ids)) == len(encoded)
