"""Data augmentation, compared with a plain, slow implementation of the paper's algorithm."""

import re
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from harness.api.errors import UserError
from harness.api.method import FIRST_TEACHER, TaskInfo
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive
from harness.models import tokenizers
from harness.models.families import shape
from harness.models.initialization import seeded
from harness.models.masked_lm import MaskedLM
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model

TINYBERT = Host.create().methods["tinybert"]
SENTENCE = "the old cat sat on a red mat while birds sang of rain and sun over many quiet houses by one river"
WORDS = SENTENCE.split()
TEXT = f"{SENTENCE} café don 't . , ! ? zyxwvut"
ROWS = [
    {"id": "0", "text": "The old cat sat, on a red mat!", "label": 1},
    {"id": "1", "text": "birds  sang\tof xylovyx rain; don't", "label": 0},
    {"id": "2", "text": "café sun\u00a0— déjà 北京 ☂ over 😀 rivers", "label": 0},
    {"id": "3", "text": " ... ", "label": 1},
]


def language_model(batch_size=128, positions=64):
    tokenizer = tokenizers.whole_word([TEXT])
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        initializer_range=0.4,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded(3):
        return MaskedLM(BertForMaskedLM(config), tokenizer, batch_size=batch_size)


def augmented(rows=ROWS, model=None, files=(), **options):
    augmentation = tinybert({"augment": options}).augmentation()
    return list(augmentation.make(rows, model or language_model(), files))


def tinybert(config, kind="classification"):
    student, teacher = (shape(tiny_model(layers=n).config, name) for n, name in ((2, "student"), (4, "teacher")))
    config = TINYBERT.Config.model_validate(config)
    return TINYBERT(config, task=TaskInfo("tiny", kind, 2), student=student, teachers=[teacher], seed=0)


def variants_of(rows, id):
    return [row for row in rows if row["id"].split("~")[0] == id]


def whole_words(model):
    """The entries of the vocabulary that are words, by id."""
    vocabulary = {i: entry for entry, i in model.tokenizer.get_vocab().items()}
    return {i: entry for i, entry in vocabulary.items() if entry[0] not in "[#'.,!?"}


def slow_candidates(model, text, start, end, count, table=None):
    """The candidates of one word, computed one sentence at a time."""
    tokenizer, word = model.tokenizer, text[start:end]
    tokens = tokenizer(text, return_offsets_mapping=True)
    positions = [i for i, (a, b) in enumerate(tokens["offset_mapping"]) if b > a and a >= start and b <= end]
    ids, words = tokens["input_ids"], whole_words(model)
    pieces = [ids[position] for position in positions]
    if len(pieces) == 1 and pieces[0] != tokenizer.unk_token_id:
        masked = [tokenizer.mask_token_id if i == positions[0] else token for i, token in enumerate(ids)]
        with torch.no_grad():
            logits = model.model(torch.tensor([masked])).logits[0, positions[0]].tolist()
        order = sorted(words, key=lambda i: -logits[i])
        return {words[i] for i in [i for i in order if i != pieces[0]][:count]}
    if table is not None:
        vector = table.get(word, table.get(word.lower()))
        others = {other: v for other, v in table.items() if other.lower() != word.lower()}
    else:
        embeddings = model.embeddings.tolist()
        known = pieces and tokenizer.unk_token_id not in pieces
        vector = [sum(column) / len(pieces) for column in zip(*(embeddings[i] for i in pieces), strict=True)]
        vector = vector if known else None
        others = {other: embeddings[i] for i, other in words.items()}
    if not vector:
        return set()
    order = sorted(others, key=lambda other: -cosine(vector, others[other]))
    return set(order[:count])


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def slow_spans(text):
    """Spans of letters and digits: the words of the texts in this file."""
    return [m.span() for m in re.finditer(r"[^\W_]+", text)]


def slow_variants(model, row, *, variants, probability, count, seed, table=None):
    text, variants_of_row = row["text"], [row["text"]]
    words = [
        (span, sorted_as(model, slow_candidates(model, text, *span, count, table), table)) for span in slow_spans(text)
    ]
    rng = SeededChoice(derive(seed, row["id"], "text"))
    for _ in range(variants):
        out, end = "", 0
        for (start, stop), candidates in words:
            if candidates and rng.chance(probability):
                out += text[end:start] + rng.pick(candidates)
                end = stop
        out += text[end:]
        if out not in variants_of_row:
            variants_of_row.append(out)
    return variants_of_row


def sorted_as(model, candidates, table):
    """The candidates in the order of their table."""
    vocabulary = model.tokenizer.get_vocab()
    if all(word in vocabulary for word in candidates):
        return sorted(candidates, key=vocabulary.get)
    return sorted(candidates, key=list(table).index)


@pytest.mark.parametrize("count", [1, 5, 15])
def test_variants_agree_with_a_slow_implementation(count):
    model = language_model()
    made = augmented(model=model, candidates=count, seed=7)
    for row in ROWS:
        expected = slow_variants(model, row, variants=20, probability=0.4, count=count, seed=7)
        variants = variants_of(made, row["id"])
        assert [variant["text"] for variant in variants] == expected
        assert {variant["label"] for variant in variants} == {row["label"]}
    assert len(variants_of(made, "0")) > 5


GLOVE = {
    "xylovyx": [1.0, 0.0, 0.5],
    "rain": [0.9, 0.1, 0.4],
    "XYLO": [1.0, 0.2, 0.5],
    "river": [-1.0, 0.1, 0.0],
    "déjà": [0.0, 1.0, 0.0],
    "vu": [0.1, 1.0, 0.0],
    "...": [1.0, 0.0, 0.5],
}


def glove(tmp_path, lines=None):
    path = tmp_path / "vectors.txt"
    lines = lines or [" ".join([word, *map(str, vector)]) for word, vector in GLOVE.items()]
    path.write_bytes("\n".join(lines).encode() + b"\n")
    return path


def test_neighbours_come_from_the_file_of_vectors(tmp_path):
    model = language_model()
    made = augmented(model=model, candidates=3, files=[glove(tmp_path)])
    table = {word: vector for word, vector in GLOVE.items() if word != "..."}
    for row in ROWS:
        expected = slow_variants(model, row, variants=20, probability=0.4, count=3, seed=1, table=table)
        assert [variant["text"] for variant in variants_of(made, row["id"])] == expected
    texts = " ".join(row["text"] for row in variants_of(made, "1"))
    assert "XYLO" in texts
    assert "river" not in slow_candidates(model, ROWS[1]["text"], 12, 19, 2, table)


def test_words_are_replaced_with_the_given_probability():
    rows = [{"id": str(i), "text": SENTENCE, "label": 0} for i in range(60)]
    made = augmented(rows, candidates=4, probability=0.3)
    variants = [row["text"].split(" ") for row in made if "~" in row["id"]]
    assert len(variants) == 60 * 20
    changed = [[a != b for a, b in zip(variant, WORDS, strict=True)] for variant in variants]
    share = sum(map(sum, changed)) / (len(variants) * len(WORDS))
    assert share == pytest.approx(0.3, abs=0.01)
    drawn = Counter(variant[3] for variant in variants if variant[3] != WORDS[3])
    assert len(drawn) == 4
    assert min(drawn.values()) > 0.7 * max(drawn.values())


def test_blanks_and_punctuation_are_unchanged():
    made = augmented(probability=1.0)
    for row in ROWS:
        for variant in variants_of(made, row["id"]):
            assert re.sub(r"[^\W_]+", "w", variant["text"]) == re.sub(r"[^\W_]+", "w", row["text"])
    assert len(variants_of(made, "3")) == 1
    first = variants_of(made, "0")[1]["text"]
    assert not set(first.lower().split()) & {"the", "old", "cat", "sat,"}, "every word is replaced"


def test_candidates_are_whole_words():
    model = language_model()
    allowed = set(whole_words(model).values())
    for row in augmented(model=model, probability=1.0, candidates=1000)[1:20]:
        assert set(re.findall(r"[^\W_]+|#+|\[", row["text"])) <= allowed


def test_variants_are_unique_and_follow_their_original():
    made = augmented(candidates=1)
    assert [row["id"].split("~")[0] for row in made] == sorted(row["id"].split("~")[0] for row in made)
    assert len({row["id"] for row in made}) == len(made)
    for row in ROWS:
        texts = [variant["text"] for variant in variants_of(made, row["id"])]
        assert texts[0] == row["text"]
        assert len(set(texts)) == len(texts)


def test_both_sentences_of_a_pair_have_variants():
    row = {"id": "7", "text": "the old cat sat", "text_pair": "birds sang of rain", "label": 2.5}
    made = augmented([row])
    assert made[0] == row
    first = [r for r in made[1:] if r["text_pair"] == row["text_pair"]]
    second = [r for r in made[1:] if r["text"] == row["text"]]
    assert len(first) + len(second) == len(made) - 1
    assert len(first) > 10
    assert len(second) > 10
    assert {r["label"] for r in made} == {2.5}
    single = augmented([{"id": "7", "text": row["text"], "label": 2.5}])
    assert [r["text"] for r in first] == [r["text"] for r in single[1:]]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_variants_do_not_depend_on_the_batch_size_of_the_model(batch_size):
    rows = [{**row, "id": f"{row['id']}-{i}"} for i in range(30) for row in ROWS]
    assert augmented(rows, model=language_model(batch_size)) == augmented(rows)


def test_variants_of_an_example_do_not_depend_on_other_examples():
    assert augmented(ROWS[1:2]) == variants_of(augmented(), "1")
    assert augmented(ROWS[::-1])[-1]["id"].startswith("0")
    assert variants_of(augmented(ROWS[::-1]), "0") == variants_of(augmented(), "0")


def test_variants_depend_on_the_seed():
    assert augmented(seed=2) != augmented(seed=1)
    assert augmented(seed=2) == augmented(seed=2)


def test_a_long_text_is_predicted_in_a_window():
    text = " ".join(WORDS * 4)
    model, short = language_model(), language_model(positions=12)
    short.model.load_state_dict(
        {n: p[:12] if "position_embeddings" in n else p for n, p in model.model.state_dict().items()}
    )
    made = augmented([{"id": "0", "text": text, "label": 0}], model=short, variants=3, candidates=1)
    assert [len(row["text"].split()) for row in made] == [len(WORDS) * 4] * 4
    ids = short.tokenizer(text)["input_ids"]
    for position, window in ((1, slice(1, 11)), (40, slice(35, 45)), (len(ids) - 2, slice(len(ids) - 11, -1))):
        masked = [ids[0], *ids[window], ids[-1]]
        masked[position - window.start + 1] = short.tokenizer.mask_token_id
        with torch.no_grad():
            logits = short.model(torch.tensor([masked])).logits[0, position - window.start + 1].tolist()
        words = whole_words(short)
        best = max((i for i in words if i != ids[position]), key=lambda i: logits[i])
        others = augmented([{"id": "0", "text": text, "label": 0}], short, variants=1, candidates=1, probability=1.0)
        assert others[1]["text"].split()[position - 1] == words[best]


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["a 1 2 3", "b 1 2"], 2, "2 numbers, expected 3, as in line 1"),
        (["a 1 2", "b 1 x"], 2, "expected a vector of 2 numbers.*x"),
        (["a 1 2", "b 1 nan"], 2, "not finite"),
        (["400000 300"], 1, "at least 2"),
        (["a 1 2", ""], 2, "0 numbers"),
    ],
)
def test_an_invalid_file_of_vectors_is_an_error_with_its_line(tmp_path, lines, line, message):
    path = glove(tmp_path, lines)
    with pytest.raises(UserError, match=rf"vectors\.txt:{line}: .*{message}"):
        augmented(files=[path])


def test_a_binary_or_empty_file_of_vectors_is_an_error(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(UserError, match=r"vectors\.txt:2: not UTF-8"):
        augmented(files=[path])
    path.write_bytes(b"")
    with pytest.raises(UserError, match="the file is empty"):
        augmented(files=[path])


def test_words_in_a_file_of_vectors_may_contain_blanks(tmp_path):
    path = glove(tmp_path, ["xylovyx 1 0 ", "at name@domain 1 0.1", "xylovyx 0 1"])
    made = augmented(ROWS[1:2], files=[path], probability=1.0)
    assert len(made) > 10
    assert all(" at name@domain " in row["text"] for row in made[1:])


def test_questions_are_not_augmented_and_this_is_noted():
    assert tinybert({"augment": True}, "qa").augmentation() is None
    assert "not questions" in tinybert({"augment": True}, "qa").notes()["augment"]
    assert "augment" not in tinybert({"augment": True}).notes()
    assert "augment" not in tinybert({}, "qa").notes()
    assert tinybert({}).augmentation() is None


def test_true_selects_the_options_of_the_paper():
    augmentation = tinybert({"augment": True}).augmentation()
    assert augmentation.options == {"variants": 20, "probability": 0.4, "candidates": 15, "seed": 1}
    assert (augmentation.model, augmentation.files) == (FIRST_TEACHER, ())


@pytest.mark.parametrize(
    "value", ["yes", 1, {"variants": 0}, {"variants": "20"}, {"probability": 1.5}, {"model": 3}, {"glove": "x"}]
)
def test_an_invalid_option_is_an_error(value):
    with pytest.raises(ValueError, match="augment"):
        TINYBERT.Config.model_validate({"augment": value})


def test_augmentation_does_not_change_the_losses():
    student, teacher = tiny_model(seed=1), tiny_model(layers=4)
    batch = tiny_batch("classification")
    without, with_augmentation = (
        loss_terms("tinybert", student=student, teachers=[teacher], batch=batch, config=config)
        for config in ({}, {"augment": True})
    )
    assert {name: term.item() for name, term in without.items()} == {
        name: term.item() for name, term in with_augmentation.items()
    }


def byte_level_model():
    """A model with a byte-level BPE tokenizer, as RoBERTa has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([f" {TEXT}"] * 20, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **names,
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )
    numbers = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    with seeded(4):
        model = RobertaForMaskedLM(RobertaConfig(vocab_size=len(fast), max_position_embeddings=66, **numbers))
    return MaskedLM(model, fast)


def test_candidates_of_a_byte_level_model_are_whole_words():
    model = byte_level_model()
    whole = {"the", "cat", "birds", "quiet", "café", "river"}
    assert all(len(model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1 for word in whole)
    made = augmented(model=model, probability=1.0, candidates=5)
    words_seen = set()
    for row in ROWS:
        for variant in variants_of(made, row["id"])[1:]:
            assert re.sub(r"[^\W_]+", "w", variant["text"]) == re.sub(r"[^\W_]+", "w", row["text"])
            words_seen |= set(re.findall(r"[^\W_]+", variant["text"]))
    vocabulary = {model.tokenizer.decode([i]).strip() for i in range(len(model.tokenizer))}
    assert words_seen <= vocabulary
    assert any(len(word) > 2 for word in words_seen)
    position = model.tokenizer(ROWS[0]["text"])["input_ids"].index(model.tokenizer.convert_tokens_to_ids("Ġcat"))
    ids = list(model.tokenizer(ROWS[0]["text"])["input_ids"])
    ids[position] = model.tokenizer.mask_token_id
    logits = model.model(torch.tensor([ids])).logits[0, position].tolist()
    entries = {i: model.tokenizer.convert_ids_to_tokens(i) for i in range(5, len(logits))}
    words = {i: model.tokenizer.decode([i])[1:] for i, e in entries.items() if e[0] == "Ġ" and e != "Ġcat"}
    order = sorted((i for i, word in words.items() if word.isalnum()), key=lambda i: -logits[i])
    drawn = {variant["text"].split()[2] for variant in variants_of(made, "0")[1:]}
    assert drawn == {words[i] for i in order[:5]}
