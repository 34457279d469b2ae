"""Predictions equal those of transformers' pipelines, in any order and batch size, also for texts of any length."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from harness.api.errors import UserError
from harness.api.task import Task
from harness.metrics.word_tags import predicted_tags
from harness.models.capture import Capture
from harness.prediction import loaded_model, predictions
from harness.prediction.entities import TaggedWord, entities
from harness.tasks.tokenization import encode
from harness.training import scoring
from harness.training.finite_checks import NotFinite
from tests.support.damaged_weights import configure, remove, truncate
from tests.support.tiny_checkpoints import LABELS, save_checkpoint
from tests.support.tokenizer_factory import corpus

TEXTS = [*corpus(12, seed=3), " ".join(corpus(20, seed=4)), "sun"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["bert", "roberta"])
def folders(request, tmp_path_factory):
    """kind -> a checkpoint for rows of up to 38 tokens."""
    root = tmp_path_factory.mktemp(request.param)
    return {kind: save_checkpoint(root / kind, kind, family=request.param) for kind in (*LABELS, "qa")}


def predict(folder, *columns, batch_size=4, **options):
    return predictions.predict(loaded_model.of_checkpoint(str(folder)), columns, CPU, batch_size=batch_size, **options)


def transformers_pipeline(folder, task="text-classification"):
    limit = loaded_model.of_checkpoint(str(folder)).max_length
    return pipeline(task, str(folder), device=CPU, truncation=True, max_length=limit)


def test_classes_equal_those_of_the_pipeline(folders):
    ours = predict(folders["classification"], TEXTS, scores=True)
    theirs = transformers_pipeline(folders["classification"])(TEXTS, top_k=None)
    assert ours["label"] == [classes[0]["label"] for classes in theirs]
    assert np.std(ours["score"]) > 1e-3
    assert ours["score"] == pytest.approx([classes[0]["score"] for classes in theirs], abs=1e-5)
    for name in LABELS["classification"]:
        expected = [next(c["score"] for c in classes if c["label"] == name) for classes in theirs]
        assert ours[f"score_{name}"] == pytest.approx(expected, abs=1e-5)


def test_pairs_equal_those_of_the_pipeline(folders):
    ours = predict(folders["classification"], TEXTS, TEXTS[::-1])
    pairs = [{"text": a, "text_pair": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    theirs = [transformers_pipeline(folders["classification"])(pair) for pair in pairs]
    assert ours["label"] == [answer["label"] for answer in theirs]


def test_all_classes_above_one_half_are_the_labels_of_a_multilabel_model(folders):
    ours = predict(folders["multilabel"], TEXTS, scores=True)
    theirs = transformers_pipeline(folders["multilabel"])(TEXTS, top_k=None)
    for labels, scores, classes in zip(ours["labels"], ours["scores"], theirs, strict=True):
        expected = {c["label"]: c["score"] for c in classes if c["score"] > 0.5}
        assert dict(zip(labels, scores, strict=True)) == pytest.approx(expected, abs=1e-5)
    for name in LABELS["multilabel"]:
        expected = [next(c["score"] for c in classes if c["label"] == name) for classes in theirs]
        assert ours[f"score_{name}"] == pytest.approx(expected, abs=1e-5)


def test_values_of_a_regression_equal_those_of_the_pipeline(folders):
    ours = predict(folders["regression"], TEXTS)["value"]
    theirs = transformers_pipeline(folders["regression"])(TEXTS)
    assert ours == pytest.approx([answer["score"] for answer in theirs], abs=1e-5)
    assert np.std(ours) > 0.01


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification"])
def test_order_and_batch_size_do_not_change_a_prediction(folders, kind):
    order = np.random.default_rng(1).permutation(len(TEXTS))
    first = predict(folders[kind], TEXTS, batch_size=1)
    other = predict(folders[kind], [TEXTS[row] for row in order], batch_size=5)
    for name, values in first.items():
        for place, row in enumerate(order):
            assert other[name][place] == _about(values[row])


def _about(value):
    """What equals `value` but for rounding in its numbers."""
    if isinstance(value, dict):
        return {name: _about(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_about(inner) for inner in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


def test_answers_are_the_best_spans_of_all_windows(folders):
    model = loaded_model.of_checkpoint(str(folders["qa"]))
    question, context = TEXTS[0], TEXTS[-2]
    ours = predict(folders["qa"], [question, "sun"], [context, "the lamp"])
    assert ours["answer"][0] in context
    best = -np.inf
    _, rows = predictions.tokenized(model, [[question], [context]])
    assert len(rows) > 2  # windows
    for row in range(len(rows)):
        ids = torch.tensor([rows.input_ids[row].tolist()])
        types = (
            {} if rows.token_type_ids is None else {"token_type_ids": torch.tensor([rows.token_type_ids[row].tolist()])}
        )
        with torch.no_grad():
            output = model.model(ids, **types)
        for first in np.flatnonzero(rows.answer_mask[row])[1:]:
            for last in range(first, min(first + 30, len(rows.answer_mask[row]))):
                if rows.answer_mask[row][last]:
                    best = max(best, float(output.start_logits[0, first] + output.end_logits[0, last]))
    assert ours["score"][0] == pytest.approx(best, abs=1e-4)


def test_tags_of_words_are_those_of_their_first_tokens(folders):
    model = loaded_model.of_checkpoint(str(folders["token_classification"]))
    text = TEXTS[0]
    tokens = model.tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    offsets, words = tokens.pop("offset_mapping")[0].tolist(), tokens.word_ids(0)
    with torch.no_grad():
        shares = model.model(**tokens).logits[0].double().softmax(-1)
    tagged = []
    for word in sorted({word for word in words if word is not None}):
        places = [p for p, other in enumerate(words) if other == word and text[slice(*offsets[p])].strip()]
        tag = int(shares[places[0]].argmax())
        start, end = offsets[places[0]][0], offsets[places[-1]][1]
        start = end - len(text[start:end].lstrip())
        tagged.append(TaggedWord(start, end, LABELS["token_classification"][tag], float(shares[places[0], tag])))
    (ours,) = predict(folders["token_classification"], [text])["entities"]
    assert ours == _about(entities(text, tagged))


def test_every_word_of_a_long_text_is_read(folders):
    model = loaded_model.of_checkpoint(str(folders["token_classification"]))
    with torch.no_grad():
        model.model.classifier.weight.zero_()
        model.model.classifier.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))  # every word is B-PER
    text = TEXTS[-2]
    output = predictions.predict(model, [[text]], CPU, batch_size=2)
    words = [text[entity["start"] : entity["end"]] for entity in output["entities"][0]]
    assert "".join(words) == text.replace(" ", "")


def test_entities_of_long_texts_are_those_that_are_scored(folders):
    model = loaded_model.of_checkpoint(str(folders["token_classification"]))
    with torch.no_grad():
        model.model.classifier.weight.mul_(100)  # so that tags differ between words and windows
    sentences = [" ".join(corpus(count, seed=count)).split() for count in (1, 9, 30)]
    examples = Dataset.from_dict(
        {"id": list("abc"), "tokens": sentences, "tags": [[0] * len(words) for words in sentences]}
    )
    task = Task("t", "token_classification", None, (), "", labels=model.labels)
    rows = encode(examples, task, model.tokenizer, model.max_length)
    assert len(rows) > 3 + len(sentences)  # windows
    logits = scoring.logits(Capture(model.model), rows, model.tokenizer.pad_token_id, device=CPU)
    scored, _ = predicted_tags(rows, logits, model.labels, [len(words) for words in sentences])
    found = predictions.predict(model, [sentences], CPU, batch_size=4)["entities"]
    for words, tags, ours in zip(sentences, scored, found, strict=True):
        text, ends = " ".join(words), np.cumsum([len(word) + 1 for word in words]) - 1
        tagged = [
            TaggedWord(end - len(word), end, tag, 1) for word, tag, end in zip(words, tags, ends.tolist(), strict=True)
        ]
        expected = [entity | {"score": None} for entity in entities(text, tagged)]
        assert [entity | {"score": None} for entity in ours] == expected
        assert len({entity["type"] for entity in expected}) > 0


def test_logits_of_tokens_that_are_not_finite_are_refused(folders):
    model = loaded_model.of_checkpoint(str(folders["token_classification"]))
    with torch.no_grad():
        model.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(NotFinite):
        predictions.predict(model, [["sun"]], CPU, batch_size=4)


def test_lists_of_words_are_joined_by_blanks(folders):
    model = loaded_model.of_checkpoint(str(folders["token_classification"]))
    with torch.no_grad():
        model.model.classifier.weight.zero_()
        model.model.classifier.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))  # every word is B-PER
    words = ["12,5%", "sun", "don't", "東京"] * 10
    (found,) = predictions.predict(model, [[words]], CPU, batch_size=2)["entities"]
    text = " ".join(words)
    assert [text[entity["start"] : entity["end"]] for entity in found] == [entity["text"] for entity in found] == words


def test_entities_of_tags():
    text = "Ada Lovelace met Bob in Oslo Norway"
    places = [(0, 3), (4, 12), (13, 16), (17, 20), (21, 23), (24, 28), (29, 35)]
    tags = ["B-PER", "I-PER", "O", "I-PER", "O", "B-LOC", "B-LOC"]
    words = [
        TaggedWord(*place, tag, score)
        for place, tag, score in zip(places, tags, (0.8, 0.6, 1, 1, 1, 1, 1), strict=True)
    ]
    found = [(entity["type"], entity["text"], entity["start"], entity["end"]) for entity in entities(text, words)]
    assert found == [
        ("PER", "Ada Lovelace", 0, 12),
        ("PER", "Bob", 17, 20),
        ("LOC", "Oslo", 24, 28),
        ("LOC", "Norway", 29, 35),
    ]
    assert entities(text, words)[0]["score"] == pytest.approx(0.7)


def test_entities_of_tags_without_prefix():
    words = [
        TaggedWord(0, 1, "name", 1),
        TaggedWord(2, 3, "name", 1),
        TaggedWord(4, 5, "O", 1),
        TaggedWord(6, 7, "x-y", 1),
    ]
    assert [(entity["type"], entity["text"]) for entity in entities("a b c d", words)] == [
        ("name", "a b"),
        ("x-y", "d"),
    ]


def test_an_empty_file_has_the_columns(folders):
    assert predict(folders["classification"], []) == {"label": [], "score": []}
    assert predict(folders["qa"], [], []) == {"answer": [], "score": []}


def test_progress_counts_the_texts(folders, monkeypatch):
    monkeypatch.setattr(predictions, "CHUNK", 5)
    done = []
    whole = predict(folders["classification"], TEXTS, on_progress=done.append)
    assert done == [5, 10, 14]
    assert len(whole["label"]) == len(TEXTS)


def test_a_model_without_a_head(tmp_path, folders):
    from transformers import AutoModel

    AutoModel.from_pretrained(folders["classification"]).save_pretrained(tmp_path)
    for file in folders["classification"].glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"has no head for predictions; expected \.\.\.ForSequenceClassification"):
        loaded_model.of_checkpoint(str(tmp_path))


SEVEN = {"id2label": {index: f"L{index}" for index in range(7)}, "label2id": {f"L{index}": index for index in range(7)}}
DAMAGE = {
    "no head": (
        lambda folder: remove(folder, "classifier"),
        "2 of its tensors are missing, the first 'classifier.bias'",
    ),
    "no attention": (lambda folder: remove(folder, "attention.self"), "the first 'bert.encoder.layer.0.attention.self"),
    "more layers": (lambda folder: configure(folder, num_hidden_layers=2), "its tensors are missing"),
    "fewer layers": (lambda folder: configure(folder, num_hidden_layers=0), "does not have 16 tensors of the encoder"),
    "labels": (
        lambda folder: configure(folder, **SEVEN),
        r"classifier\.\w+ is \[3.*\] in the file and \[7.*\] by config",
    ),
    "truncated": (truncate, "cannot load a model from this folder: .*; download or save it again"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_incomplete_weights_predict_nothing(tmp_path, damage):
    change, message = DAMAGE[damage]
    change(save_checkpoint(tmp_path / "model", "classification"))
    with pytest.raises(UserError, match=message):
        loaded_model.of_checkpoint(str(tmp_path / "model"))
