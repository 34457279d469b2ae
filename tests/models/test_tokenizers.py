import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from harness.api.errors import UserError
from harness.models import tokenizers
from harness.testing import tiny_model

TEXTS = ["The film was not good, but moving.", "A good film!", "The café: a Film of 2019."]


def tokens(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_known_words_stay_whole():
    tokenizer = tokenizers.whole_word(TEXTS)
    expected = ["[CLS]", "a", "moving", "cafe", "!", "[SEP]"]
    assert tokens(tokenizer, "A moving café!") == expected


def test_pairs_have_token_types_and_offsets():
    tokenizer = tokenizers.whole_word(TEXTS)
    encoded = tokenizer("A film", "not good", return_offsets_mapping=True)
    assert encoded["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert encoded["offset_mapping"][2] == (2, 6)
    assert encoded.word_ids() == [None, 0, 1, None, 0, 1, None]


@given(st.lists(st.text(alphabet="abcdefgé ,.", max_size=20), min_size=1), st.data())
def test_no_word_of_known_characters_is_unknown(texts, data):
    tokenizer = tokenizers.whole_word(texts)
    known = "".join(texts)
    text = data.draw(st.text(alphabet=sorted(set(known)), max_size=15)) if known else ""
    assert "[UNK]" not in tokens(tokenizer, text)


def test_an_unknown_character_is_unknown():
    assert "[UNK]" in tokens(tokenizers.whole_word(["abc"]), "xyz")


def test_the_most_frequent_words_are_in_the_vocabulary():
    characters = len(set("thecat")) * 2 + len(tokenizers.SPECIAL)
    tokenizer = tokenizers.whole_word(["the cat the cat the"], size=characters + 1)
    assert len(tokenizer) == characters + 1
    assert tokens(tokenizer, "the cat") == ["[CLS]", "the", "c", "##a", "##t", "[SEP]"]
    with pytest.raises(UserError, match="do not fit in a vocabulary of 6 tokens"):
        tokenizers.whole_word(["the cat"], size=6)


def test_the_order_of_texts_does_not_matter():
    texts = [f"{word} film" for word in ["some", "words", "that", "occur", "once", "each"]]
    shuffled = random.Random(0).sample(texts, len(texts))
    first, second = tokenizers.whole_word(texts), tokenizers.whole_word(shuffled)
    assert first.get_vocab() == second.get_vocab()
    assert tokenizers.fingerprint(first) == tokenizers.fingerprint(second)


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path):
    tokenizer = tokenizers.whole_word(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    for again in (tokenizers.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert again.get_vocab() == tokenizer.get_vocab()
        assert tokenizers.fingerprint(again) == tokenizers.fingerprint(tokenizer)
        text = "A moving café, unknown words!"
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_a_tokenizer_loads_from_a_folder_with_a_model(tmp_path):
    tokenizer = tokenizers.whole_word(TEXTS)
    tiny_model("bert").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert tokenizers.fingerprint(tokenizers.load(tmp_path)) == tokenizers.fingerprint(tokenizer)


def test_a_vocabulary_file_alone_is_a_bert_tokenizer(tmp_path):
    tokenizer = tokenizers.whole_word(TEXTS)
    tiny_model("bert").save_pretrained(tmp_path)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab))
    assert tokenizers.load(tmp_path)("a good film")["input_ids"] == tokenizer("a good film")["input_ids"]


def test_fingerprint_depends_on_contents_only():
    first = tokenizers.whole_word(TEXTS)
    before = tokenizers.fingerprint(first)
    first(TEXTS, truncation=True, max_length=4, padding=True)
    assert tokenizers.fingerprint(first) == before
    assert tokenizers.fingerprint(tokenizers.whole_word([*TEXTS, "more words"])) != before
    first.truncation_side = "left"  # it keeps other tokens of a long text
    assert tokenizers.fingerprint(first) != before


def test_a_folder_without_a_tokenizer_raises(tmp_path):
    tiny_model("bert").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds no tokenizer") as caught:
        tokenizers.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_unreadable_tokenizer_raises(tmp_path):
    tiny_model("bert").save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(UserError, match="cannot load a tokenizer"):
        tokenizers.load(tmp_path)
