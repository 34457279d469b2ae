"""Tokenizers of each kind, with correct and with wrong offsets."""

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from harness.api.errors import UserError
from harness.tasks.offset_checks import refuse_wrong_offsets
from harness.tasks.tokenization import encode
from tests.support.tiny_tasks import bytelevel, questions, task, wordpiece
from tests.tasks.test_squad import UNICODE, bert

SPECIAL = ["<unk>", "<pad>", "<s>", "</s>"]
PLAIN = ["the cat sat on a mat", "who sat where, and why?", "Carolina beat Denver in 1999."]
CONTEXTS = [*PLAIN, *(context for context, _ in UNICODE.values()), "ﬁne … ½ straße ＡＢＣ"]


def trained(model, trainer, split, decoder, normalizer=None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoder
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CONTEXTS * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def bpe(*, trim: bool) -> PreTrainedTokenizerFast:
    split = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    return trained(models.BPE(), trainer, split, decoders.ByteLevel())


def unigram() -> PreTrainedTokenizerFast:
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    split, form = pre_tokenizers.Metaspace(), normalizers.NFKC()
    return trained(models.Unigram(), trainer, split, decoders.Metaspace(), form)


KINDS = {
    "wordpiece": wordpiece,
    "bert": bert,
    "bytelevel": bytelevel,
    "bpe": lambda: bpe(trim=False),
    "trimmed bpe": lambda: bpe(trim=True),
    "unigram": unigram,
}


class Shifted:
    """A tokenizer whose offsets are one character off, like one that ignores a prefix it added to the text."""

    def __init__(self, right: PreTrainedTokenizerFast) -> None:
        self.right = right

    def __getattr__(self, name):
        return getattr(self.right, name)

    def __call__(self, *texts, **options):
        encoded = self.right(*texts, **options)
        encoded["offset_mapping"] = [(max(begin - 1, 0), end - 1) for begin, end in encoded["offset_mapping"]]
        return encoded


@pytest.mark.parametrize("kind", KINDS)
def test_correct_offsets_pass(kind):
    refuse_wrong_offsets(Dataset.from_dict({"context": CONTEXTS}), ["context"], KINDS[kind]())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bytelevel"])  # which has no decoder
def test_wrong_offsets_are_refused(kind):
    rows = Dataset.from_dict({"context": CONTEXTS})
    with pytest.raises(UserError, match=r"offsets of .* are wrong for \d+ of \d+ tokens \(token '.*' has the offsets"):
        refuse_wrong_offsets(rows, ["context"], Shifted(KINDS[kind]()))


@pytest.mark.parametrize(("kind", "places"), [("qa", False), ("classification", True)])
def test_encoding_checks_offsets_where_it_needs_them(kind, places):
    rows = questions(("who", "the cat sat", "cat"))
    if kind != "qa":
        rows = Dataset.from_dict({"id": ["0"], "text": ["the cat sat"], "label": [0]})
    with pytest.raises(UserError, match="offsets of"):
        encode(rows, task(kind), Shifted(wordpiece()), 32, places=places)
