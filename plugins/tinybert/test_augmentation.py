"""Data augmentation against a plain, slow version of the paper's algorithm."""

import re
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from harness.api.errors import UserError
from harness.api.method import TaskInfo
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
    asked = tinybert({"augment": options}).augmentation()
    return list(asked.make(rows, model or language_model(), files))


def tinybert(config, kind="classification"):
    own, theirs = (shape(tiny_model(layers=n).config, name) for n, name in ((2, "student"), (4, "teacher")))
    config = TINYBERT.Config.model_validate(config)
    return TINYBERT(config, task=TaskInfo("tiny", kind, 2), student=own, teachers=[theirs], seed=0)


def variants_of(made, id):
    return [row for row in made if row["id"].split("~")[0] == id]


def whole_words(model):
    """By id: entries of the vocabulary that a reader would call a word."""
    vocabulary = {i: entry for entry, i in model.tokenizer.get_vocab().items()}
    return {i: entry for i, entry in vocabulary.items() if entry[0] not in "[#'.,!?"}


def slow_candidates(model, text, start, end, count, table=None):
    """Of one word, one sentence at a time."""
    tokenizer, word = model.tokenizer, text[start:end]
    tokens = tokenizer(text, return_offsets_mapping=True)
    places = [i for i, (a, b) in enumerate(tokens["offset_mapping"]) if b > a and a >= start and b <= end]
    ids, words = tokens["input_ids"], whole_words(model)
    pieces = [ids[place] for place in places]
    if len(pieces) == 1 and pieces[0] != tokenizer.unk_token_id:
        asked = [tokenizer.mask_token_id if i == places[0] else token for i, token in enumerate(ids)]
        with torch.no_grad():
            logits = model.model(torch.tensor([asked])).logits[0, places[0]].tolist()
        order = sorted(words, key=lambda i: -logits[i])
        return {words[i] for i in [i for i in order if i != pieces[0]][:count]}
    if table is not None:
        vector = table.get(word, table.get(word.lower()))
        others = {each: v for each, v in table.items() if each.lower() != word.lower()}
    else:
        embeddings = model.embeddings.tolist()
        known = pieces and tokenizer.unk_token_id not in pieces
        vector = [sum(column) / len(pieces) for column in zip(*(embeddings[i] for i in pieces), strict=True)]
        vector = vector if known else None
        others = {each: embeddings[i] for i, each in words.items()}
    if not vector:
        return set()
    order = sorted(others, key=lambda each: -cosine(vector, others[each]))
    return set(order[:count])


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def slow_spans(text):
    """Runs of letters, digits and marks: what this file's texts hold of words."""
    return [m.span() for m in re.finditer(r"[^\W_]+", text)]


def slow_variants(model, row, *, variants, probability, count, seed, table=None):
    text, made = row["text"], [row["text"]]
    words = [
        (span, sorted_as(model, slow_candidates(model, text, *span, count, table), table)) for span in slow_spans(text)
    ]
    dice = SeededChoice(derive(seed, row["id"], "text"))
    for _ in range(variants):
        out, end = "", 0
        for (start, stop), candidates in words:
            if candidates and dice.chance(probability):
                out += text[end:start] + dice.pick(candidates)
                end = stop
        out += text[end:]
        if out not in made:
            made.append(out)
    return made


def sorted_as(model, candidates, table):
    """In the order of the table that they come from."""
    vocabulary = model.tokenizer.get_vocab()
    if all(word in vocabulary for word in candidates):
        return sorted(candidates, key=vocabulary.get)
    return sorted(candidates, key=list(table).index)


@pytest.mark.parametrize("count", [1, 5, 15])
def test_as_a_slow_version_of_the_algorithm(count):
    model = language_model()
    made = augmented(model=model, candidates=count, seed=7)
    for row in ROWS:
        expected = slow_variants(model, row, variants=20, probability=0.4, count=count, seed=7)
        mine = variants_of(made, row["id"])
        assert [each["text"] for each in mine] == expected
        assert {each["label"] for each in mine} == {row["label"]}
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


def test_neighbours_come_from_a_table_that_is_given(tmp_path):
    model = language_model()
    made = augmented(model=model, candidates=3, files=[glove(tmp_path)])
    table = {word: vector for word, vector in GLOVE.items() if word != "..."}
    for row in ROWS:
        expected = slow_variants(model, row, variants=20, probability=0.4, count=3, seed=1, table=table)
        assert [each["text"] for each in variants_of(made, row["id"])] == expected
    texts = " ".join(row["text"] for row in variants_of(made, "1"))
    assert "XYLO" in texts
    assert "river" not in slow_candidates(model, ROWS[1]["text"], 12, 19, 2, table)


def test_words_are_replaced_as_often_as_is_asked():
    rows = [{"id": str(i), "text": SENTENCE, "label": 0} for i in range(60)]
    made = augmented(rows, candidates=4, probability=0.3)
    variants = [row["text"].split(" ") for row in made if "~" in row["id"]]
    assert len(variants) == 60 * 20
    changed = [[a != b for a, b in zip(each, WORDS, strict=True)] for each in variants]
    share = sum(map(sum, changed)) / (len(variants) * len(WORDS))
    assert share == pytest.approx(0.3, abs=0.01)
    drawn = Counter(each[3] for each in variants if each[3] != WORDS[3])
    assert len(drawn) == 4
    assert min(drawn.values()) > 0.7 * max(drawn.values())


def test_what_is_no_word_stays_where_it_was():
    made = augmented(probability=1.0)
    for row in ROWS:
        for each in variants_of(made, row["id"]):
            assert re.sub(r"[^\W_]+", "w", each["text"]) == re.sub(r"[^\W_]+", "w", row["text"])
    assert len(variants_of(made, "3")) == 1
    first = variants_of(made, "0")[1]["text"]
    assert not set(first.lower().split()) & {"the", "old", "cat", "sat,"}, "each word becomes another"


def test_a_candidate_is_never_the_word_a_piece_or_a_special_token():
    model = language_model()
    allowed = set(whole_words(model).values())
    for row in augmented(model=model, probability=1.0, candidates=1000)[1:20]:
        assert set(re.findall(r"[^\W_]+|#+|\[", row["text"])) <= allowed


def test_variants_come_once_and_after_their_original():
    made = augmented(candidates=1)
    assert [row["id"].split("~")[0] for row in made] == sorted(row["id"].split("~")[0] for row in made)
    assert len({row["id"] for row in made}) == len(made)
    for row in ROWS:
        texts = [each["text"] for each in variants_of(made, row["id"])]
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
    alone = augmented([{"id": "7", "text": row["text"], "label": 2.5}])
    assert [r["text"] for r in first] == [r["text"] for r in alone[1:]]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batches_of_the_model_make_no_difference(batch_size):
    rows = [{**row, "id": f"{row['id']}-{i}"} for i in range(30) for row in ROWS]
    assert augmented(rows, model=language_model(batch_size)) == augmented(rows)


def test_an_example_has_the_same_variants_whatever_stands_beside_it():
    assert augmented(ROWS[1:2]) == variants_of(augmented(), "1")
    assert augmented(ROWS[::-1])[-1]["id"].startswith("0")
    assert variants_of(augmented(ROWS[::-1]), "0") == variants_of(augmented(), "0")


def test_another_seed_makes_other_variants():
    assert augmented(seed=2) != augmented(seed=1)
    assert augmented(seed=2) == augmented(seed=2)


def test_a_long_text_is_read_through_a_window():
    text = " ".join(WORDS * 4)
    model, short = language_model(), language_model(positions=12)
    short.model.load_state_dict(
        {n: p[:12] if "position_embeddings" in n else p for n, p in model.model.state_dict().items()}
    )
    made = augmented([{"id": "0", "text": text, "label": 0}], model=short, variants=3, candidates=1)
    assert [len(row["text"].split()) for row in made] == [len(WORDS) * 4] * 4
    ids = short.tokenizer(text)["input_ids"]
    for place, window in ((1, slice(1, 11)), (40, slice(35, 45)), (len(ids) - 2, slice(len(ids) - 11, -1))):
        asked = [ids[0], *ids[window], ids[-1]]
        asked[place - window.start + 1] = short.tokenizer.mask_token_id
        with torch.no_grad():
            logits = short.model(torch.tensor([asked])).logits[0, place - window.start + 1].tolist()
        words = whole_words(short)
        wanted = max((i for i in words if i != ids[place]), key=lambda i: logits[i])
        others = augmented([{"id": "0", "text": text, "label": 0}], short, variants=1, candidates=1, probability=1.0)
        assert others[1]["text"].split()[place - 1] == words[wanted]


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["a 1 2 3", "b 1 2"], 2, "2 numbers.* 3, as in line 1"),
        (["a 1 2", "b 1 x"], 2, "should be 2 numbers.*x"),
        (["a 1 2", "b 1 nan"], 2, "not finite"),
        (["400000 300"], 1, "at least 2"),
        (["a 1 2", ""], 2, "0 numbers"),
    ],
)
def test_a_bad_file_of_vectors_is_told_with_its_line(tmp_path, lines, line, message):
    path = glove(tmp_path, lines)
    with pytest.raises(UserError, match=rf"vectors\.txt:{line}: .*{message}"):
        augmented(files=[path])


def test_a_file_that_is_no_text_or_empty_is_told(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"a 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(UserError, match=r"vectors\.txt:2: is not UTF-8"):
        augmented(files=[path])
    path.write_bytes(b"")
    with pytest.raises(UserError, match="holds no word vectors"):
        augmented(files=[path])


def test_words_with_blanks_are_read_as_published_files_have_them(tmp_path):
    path = glove(tmp_path, ["xylovyx 1 0 ", "at name@domain 1 0.1", "xylovyx 0 1"])
    made = augmented(ROWS[1:2], files=[path], probability=1.0)
    assert len(made) > 10
    assert all(" at name@domain " in row["text"] for row in made[1:])


def test_questions_are_not_augmented_and_the_record_says_so():
    assert tinybert({"augment": True}, "qa").augmentation() is None
    assert "not questions" in tinybert({"augment": True}, "qa").notes()["augment"]
    assert "augment" not in tinybert({"augment": True}).notes()
    assert "augment" not in tinybert({}, "qa").notes()
    assert tinybert({}).augmentation() is None


def test_true_means_the_papers_numbers():
    made = tinybert({"augment": True}).augmentation()
    assert made.options == {"variants": 20, "probability": 0.4, "candidates": 15, "seed": 1}
    assert (made.model, made.files) == (None, ())


@pytest.mark.parametrize(
    "value", ["yes", 1, {"variants": 0}, {"variants": "20"}, {"probability": 1.5}, {"model": 3}, {"glove": "x"}]
)
def test_a_wrong_option_is_refused(value):
    with pytest.raises(ValueError, match="augment"):
        TINYBERT.Config.model_validate({"augment": value})


def test_the_losses_are_as_without():
    student, teacher = tiny_model(seed=1), tiny_model(layers=4)
    batch = tiny_batch("classification")
    plain, other = (
        loss_terms("tinybert", student=student, teachers=[teacher], batch=batch, config=config)
        for config in ({}, {"augment": True})
    )
    assert {name: term.item() for name, term in plain.items()} == {name: term.item() for name, term in other.items()}


def byte_level_model():
    """RoBERTa's kind: bytes with leading blanks."""
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


def test_a_model_that_reads_bytes_gives_whole_words_too():
    model = byte_level_model()
    whole = {"the", "cat", "birds", "quiet", "café", "river"}
    assert all(len(model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1 for word in whole)
    made = augmented(model=model, probability=1.0, candidates=5)
    spoken = set()
    for row in ROWS:
        for each in variants_of(made, row["id"])[1:]:
            assert re.sub(r"[^\W_]+", "w", each["text"]) == re.sub(r"[^\W_]+", "w", row["text"])
            spoken |= set(re.findall(r"[^\W_]+", each["text"]))
    vocabulary = {model.tokenizer.decode([i]).strip() for i in range(len(model.tokenizer))}
    assert spoken <= vocabulary
    assert any(len(word) > 2 for word in spoken)
    place = model.tokenizer(ROWS[0]["text"])["input_ids"].index(model.tokenizer.convert_tokens_to_ids("Ġcat"))
    ids = list(model.tokenizer(ROWS[0]["text"])["input_ids"])
    ids[place] = model.tokenizer.mask_token_id
    logits = model.model(torch.tensor([ids])).logits[0, place].tolist()
    entries = {i: model.tokenizer.convert_ids_to_tokens(i) for i in range(5, len(logits))}
    words = {i: model.tokenizer.decode([i])[1:] for i, e in entries.items() if e[0] == "Ġ" and e != "Ġcat"}
    order = sorted((i for i, word in words.items() if word.isalnum()), key=lambda i: -logits[i])
    drawn = {each["text"].split()[2] for each in variants_of(made, "0")[1:]}
    assert drawn == {words[i] for i in order[:5]}
