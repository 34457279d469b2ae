from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.batch import IGNORED
from harness.api.errors import UserError
from harness.metrics.builtin_metrics import harness_register_metrics
from harness.metrics.qa_spans import MAX_ANSWER, best_spans
from harness.metrics.task_scores import combine_splits, evaluate_outputs
from harness.tasks.ragged_arrays import Ragged
from harness.tasks.tokenization import encode
from tests.support.tiny_tasks import LABELS as TAGS
from tests.support.tiny_tasks import questions, task, wordpiece

METRICS = {}
harness_register_metrics(METRICS.__setitem__)
TOKENIZER = wordpiece()
LABELS = TAGS["token_classification"]


def score(kind, rows, logits, **options):
    scored_task = task(kind, **({"unanswerable": options.pop("unanswerable", True)} if kind == "qa" else {}))
    encoded = encode(rows, scored_task, TOKENIZER, options.pop("max_length", 32))
    return evaluate_outputs(scored_task, rows, encoded, logits(encoded), METRICS, **options)


def sentences(labels):
    return Dataset.from_dict({"id": ["x", "y"], "text": ["the cat", "a mat"], "label": labels})


def test_classification():
    scored = score("classification", sentences([1, 1]), lambda _: np.float32([[0, 2], [1, 0]]), split="dev")
    assert scored.metrics == {"accuracy": 0.5}
    assert scored.score == 0.5
    assert scored.frame.to_dict("records") == [
        {"id": "x", "prediction": 1, "scores": [0.0, 2.0], "label": 1, "split": "dev"},
        {"id": "y", "prediction": 0, "scores": [1.0, 0.0], "label": 1, "split": "dev"},
    ]


def test_two_metrics_that_return_the_same_name_are_an_error():
    class Mine:
        def compute(self, predictions, references):
            return {"mine": 0.0, "accuracy": 0.0}

    rows = sentences([1, 1])
    both = replace(task("classification"), metrics=("accuracy", "mine"))
    encoded = encode(rows, both, TOKENIZER, 32)
    with pytest.raises(UserError, match="'mine' returns a value 'accuracy', and so does another one of accuracy, mine"):
        evaluate_outputs(both, rows, encoded, np.float32([[0, 2], [1, 0]]), METRICS | {"mine": Mine})


def test_regression():
    scored = score("regression", sentences([0.5, 4.0]), lambda _: np.float32([[1.5], [1.0]]))
    assert scored.metrics == pytest.approx({"pearson": -1.0, "spearmanr": -1.0})
    assert scored.frame["prediction"].tolist() == [1.5, 1.0]


def test_multilabel():
    rows = sentences([[0, 2], []])
    scored = score("multilabel", rows, lambda _: np.float32([[1, -1, -2], [-1, 0, -3]]))
    assert scored.metrics == {"f1_micro": pytest.approx(2 / 3)}
    assert scored.frame.to_dict("records") == [
        {"id": "x", "prediction": [0], "scores": [1.0, -1.0, -2.0], "label": [0, 2], "split": "validation"},
        {"id": "y", "prediction": [], "scores": [-1.0, 0.0, -3.0], "label": [], "split": "validation"},
    ]
    hidden = score("multilabel", sentences([[-1], [-1]]), lambda _: np.float32([[1, -1, -2], [-1, 0, -3]]))
    assert (hidden.score, hidden.metrics) == (None, {})
    assert hidden.frame["prediction"].tolist() == [[0], []]


def words(*rows):
    tags = [[[*LABELS].index(tag) if tag else -1 for _, tag in row] for row in rows]
    ids = [f"w{index}" for index in range(len(rows))]
    return Dataset.from_dict({"id": ids, "tokens": [[word for word, _ in row] for row in rows], "tags": tags})


def tagged(encoded, answers):
    """Logits that give word i of the only example the tag `answers[i]`, at its first token."""
    outputs = []
    for row in range(len(encoded)):
        logits = np.zeros((encoded.lengths[row], len(LABELS)))
        for token, (word, label) in enumerate(zip(encoded.word_ids[row], encoded.labels[row], strict=True)):
            logits[token, [*LABELS].index(answers[word]) if label != IGNORED else 3] = 2.0
        outputs.append(logits)
    return outputs


@pytest.mark.parametrize("max_length", [32, 7])
def test_token_classification_reads_the_first_token_of_each_word_in_one_window(max_length):
    row = [
        ("cat", "B-PER"),
        ("xyz", "I-PER"),
        ("sat", "O"),
        ("on", "O"),
        ("abc", "B-LOC"),
        ("", "O"),
        ("mat", "O"),
    ]
    answers = ["B-PER", "I-PER", "O", "O", "B-PER", "B-PER", "O"]
    scored = score("token_classification", words(row), lambda e: tagged(e, answers), max_length=max_length)
    (record,) = scored.frame.to_dict("records")
    assert record["prediction"] == ["B-PER", "I-PER", "O", "O", "B-PER", "O", "O"], "the word without a token is O"
    assert record["label"] == [tag for _, tag in row]
    confidence = np.exp(2) / (np.exp(2) + 4)
    assert record["scores"] == pytest.approx([confidence] * 5 + [0.0, confidence])
    assert scored.metrics == pytest.approx({"entity_precision": 0.5, "entity_recall": 0.5, "entity_f1": 0.5})


def test_hidden_tags_are_predicted_and_not_scored():
    rows = words([("cat", ""), ("sat", "")])
    scored = score("token_classification", rows, lambda e: tagged(e, ["B-PER", "O"]))
    assert scored.score is None
    assert scored.frame["prediction"].tolist() == [["B-PER", "O"]]
    assert scored.frame["label"].tolist() == [["", ""]]


def test_equal_predictions_have_an_undefined_score():
    scored = score("regression", sentences([0.5, 4.0]), lambda _: np.float32([[1.5], [1.5]]))
    assert np.isnan([scored.score, *scored.metrics.values()]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_outputs_that_are_not_finite_are_an_error(kind, value):
    with pytest.raises(ValueError, match="1 of 2 outputs on split 'validation' are not finite"):
        score(kind, sentences([0, 1]), lambda _: np.float32([[1.5, 0.5], [value, 0.5]]))


def test_qa_outputs_that_are_not_finite_are_an_error():
    rows = questions(("who", "the cat sat", "cat"))
    with pytest.raises(ValueError, match="1 of 1 outputs on split 'validation' are not finite"):
        score("qa", rows, lambda encoded: [np.full((2, length), np.nan) for length in encoded.lengths])


def pointing_to_no_answer(encoded):
    return [9 * np.eye(1, length).repeat(2, 0) for length in encoded.lengths]


def pointing(encoded, weight=5.0):
    """Logits that point to the labels."""
    outputs = []
    for row, (first, last) in enumerate(encoded.labels):
        logits = np.zeros((2, encoded.lengths[row]))
        logits[0, first] = logits[1, last] = weight
        outputs.append(logits)
    return outputs


def test_qa_finds_the_answer_in_any_window(tmp_path):
    context = "the mat sat on a mat . " * 4 + "a cat 42 sat on the mat"
    rows = questions(("who sat", context, "cat 42"), ("where", "the cat sat on a mat", "a mat"))
    scored = score("qa", rows, pointing, max_length=20, unanswerable=False)
    assert scored.metrics == {"exact": 100.0, "f1": 100.0}
    assert scored.frame["prediction"].tolist() == ["cat 42", "a mat"]
    assert scored.frame["label"].tolist() == [["cat 42"], ["a mat"]]
    scored.frame.to_parquet(tmp_path / "predictions.parquet")


def test_qa_without_an_answer():
    rows = questions(("who", "the cat sat", None), ("who", "the cat sat", "cat"))
    scored = score("qa", rows, pointing)
    assert scored.frame["prediction"].tolist() == ["", "cat"]
    names = [f"{part}{name}" for part in ("", "HasAns_", "NoAns_") for name in ("exact", "f1")]
    assert scored.metrics == dict.fromkeys(names, 100.0)
    assert scored.score == 100.0


def test_no_null_answer_if_every_question_has_an_answer():
    rows = questions(("who", "cat", "cat"))
    scored = score("qa", rows, pointing_to_no_answer, unanswerable=False)
    assert scored.frame["prediction"].tolist() == ["cat"]


def test_null_answers_do_not_depend_on_other_questions():
    scored = score("qa", questions(("who", "cat", "cat")), pointing_to_no_answer)
    assert scored.frame["prediction"].tolist() == [""]
    assert scored.frame["scores"].tolist() == [[0.0, 18.0]]


def test_equal_scores_do_not_give_a_null_answer():
    scored = score("qa", questions(("who", "cat", "cat")), lambda encoded: [np.zeros((2, encoded.lengths[0]))])
    assert scored.frame["prediction"].tolist() == ["cat"]


def test_the_null_score_is_the_minimum_over_the_windows():
    """One window with a low null score is enough for an answer."""
    rows = questions(("who", "the cat sat on a mat . " * 3, "cat"))

    def logits(encoded):
        assert len(encoded) > 1
        outputs = [np.zeros((2, length)) for length in encoded.lengths]
        for output, null in zip(outputs, (9, *[-3] * (len(encoded) - 1)), strict=True):
            output[:, 0] = null
        return outputs

    scored = score("qa", rows, logits, max_length=16)
    assert scored.frame["scores"].tolist() == [[0.0, -6.0]]
    assert scored.frame["prediction"][0] != ""


def test_blank_candidates_are_skipped():
    rows = questions(("who", "cat   sat", "cat"))
    encoded = encode(rows, task("qa"), TOKENIZER, 16)
    assert encoded.lengths.tolist() == [6]  # [CLS] who [SEP] cat sat [SEP]
    offsets = Ragged.of([[0, 0, 0, 0, 0, 0, 3, 5, 6, 9, 0, 0]], np.int32, (2,))  # as if the blank were a token
    logits = np.zeros((2, 6))
    logits[:, 3] = 5
    (span,) = best_spans(rows, replace(encoded, offsets=offsets), [logits], unanswerable=False)
    assert span.text == "sat"
    assert span.score == 5


def test_hidden_labels_are_predicted_and_not_scored():
    scored = score("classification", sentences([-1, -1]), lambda _: np.float32([[0, 2], [1, 0]]))
    assert (scored.metrics, scored.score) == ({}, None)
    assert scored.frame["prediction"].tolist() == [1, 0]
    both = combine_splits({"a": scored, "b": score("classification", sentences([1, 1]), lambda _: np.zeros((2, 2)))})
    assert both.score is None
    assert both.metrics == {"b_accuracy": 0.0}


def test_partly_hidden_labels_are_an_error():
    with pytest.raises(UserError, match="1 of 2 labels are hidden"):
        score("classification", sentences([1, -1]), lambda _: np.zeros((2, 2)))


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 50))
def test_the_best_span_maximizes_the_score(seed, length):
    rows = questions(("who", " ".join(["cat"] * length), "cat"))
    encoded = encode(rows, task("qa"), TOKENIZER, 128)
    start, end = logits = np.random.default_rng(seed).normal(size=(2, encoded.lengths[0]))
    tokens = np.flatnonzero(encoded.answer_mask[0])[1:]
    best = max(start[a] + end[b] for a in tokens for b in tokens if a <= b < a + MAX_ANSWER)
    span = best_spans(rows, encoded, [logits], unanswerable=False)[0]
    assert span.score == pytest.approx(best)
    assert span.null_score == pytest.approx(start[0] + end[0])
    assert span.text in rows[0]["context"]


def test_the_score_of_several_splits_is_their_mean():
    splits = {
        "matched": score("classification", sentences([1, 1]), lambda _: np.float32([[0, 2], [1, 0]]), split="matched"),
        "mismatched": score(
            "classification", sentences([1, 1]), lambda _: np.float32([[0, 2], [0, 1]]), split="mismatched"
        ),
    }
    combined = combine_splits(splits)
    assert combined.metrics == {"matched_accuracy": 0.5, "mismatched_accuracy": 1.0}
    assert combined.score == 0.75
    assert combined.frame["split"].tolist() == ["matched"] * 2 + ["mismatched"] * 2
    assert combine_splits({"matched": splits["matched"]}) is splits["matched"]


def test_an_unknown_metric_lists_the_registered_ones():
    rows = sentences([1, 1])
    scored_task = task("classification")
    encoded = encode(rows, scored_task, TOKENIZER, 32)
    with pytest.raises(UserError, match=r"'accuracy'.*allowed: f1"):
        evaluate_outputs(scored_task, rows, encoded, np.zeros((2, 2)), {"f1": METRICS["f1"]})
