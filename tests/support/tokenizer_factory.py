"""Two real tokenizers, trained on generated text: BERT's WordPiece and RoBERTa's byte-level BPE; and models to them."""

import functools
import json
import random

from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import BertTokenizerFast, RobertaTokenizerFast

from harness.models.initialization import seeded
from harness.testing import tiny_model

WORDS = [
    *("sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song", "before", "behind"),
    *("unbelievable", "running", "runs", "12,5%", "don't"),
    *("café", "naïve", "Straße", "東京", "привет", "мир", "façade", "résumé", "😀", "ﬁne", "e\u0301tude"),
]


def corpus(count=300, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(count)]


@functools.cache
def wordpiece():
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(corpus(), vocab_size=150, min_frequency=1, show_progress=False)
    return BertTokenizerFast(vocab=trained.get_vocab(), model_max_length=512)


@functools.cache
def bytelevel(*, trim_offsets=True):
    """Small enough to cut words into pieces, and letters that are not ASCII into bytes."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(corpus(), vocab_size=360, special_tokens=special, show_progress=False)
    return RobertaTokenizerFast(
        vocab=trained.get_vocab(), merges=_merges(trained), trim_offsets=trim_offsets, model_max_length=512
    )


def _merges(trained):
    return [tuple(merge) for merge in json.loads(trained._tokenizer.to_str())["model"]["merges"]]


def save(folder, family, **sizes):
    """A tiny random model of the family, with the tokenizer that goes with it, in `folder`."""
    tokenizer = bytelevel() if family == "roberta" else wordpiece()
    model = tiny_model(family, vocab=len(tokenizer), **sizes)
    config = model.config
    config.pad_token_id, config.max_position_embeddings = tokenizer.pad_token_id, 200
    with seeded(1):
        type(model)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
