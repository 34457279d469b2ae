"""Entities and their scores equal seqeval's: stored outputs of seqeval 1.2.2, and loops written from its rules."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.builtin_metrics import METRICS, _factory
from harness.metrics.entity_spans import entities, entity_counts

STORED = json.loads((Path(__file__).parent / "seqeval_1_2_2.json").read_text(encoding="utf-8"))
"""Random tags in and out of IOB2, and what ``precision_score``, ``recall_score``, ``f1_score``, ``accuracy_score`` and
``get_entities`` of seqeval return for them."""

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
sentences = st.lists(st.sampled_from(TAGS), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def compute():
    built = [_factory(METRICS[name])() for name in ("entity_f1", "token_accuracy")]

    def of(predicted, gold):
        values = [metric.compute(predictions=predicted, references=gold) for metric in built]
        return values[0] | values[1]

    return of


def test_scores_equal_those_of_seqeval(compute):
    for case in STORED:
        gold, predicted = ([row.split() for row in case[name]] for name in ("gold", "predicted"))
        expected = {name: case[name] for name in ("entity_precision", "entity_recall", "entity_f1", "token_accuracy")}
        assert compute(predicted, gold) == pytest.approx(expected, abs=1e-12), case


def test_entities_equal_those_of_seqeval():
    for case in STORED:
        for row, expected in zip(case["gold"], case["entities"], strict=True):
            assert sorted(entities(row.split()), key=lambda entity: entity[1]) == [tuple(each) for each in expected]


def spelled_out(tags):
    """The words of each entity, word by word: a word continues the entity before it if it is I- of the same type."""
    found, current = [], None
    for index, tag in enumerate(tags):
        prefix, _, type = tag.partition("-")
        if prefix == "I" and current is not None and current[0] == type:
            current[1].append(index)
            continue
        current = None if prefix == "O" else (type, [index])
        found += [current] if current else []
    return {(type, words[0], words[-1]) for type, words in found}


@settings(max_examples=50)
@given(sentences)
def test_entities_are_runs_of_words_with_one_type(tags):
    assert entities(tags) == spelled_out(tags)


@settings(max_examples=50)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
def test_f1_is_the_harmonic_mean_and_counts_add_up(compute, rows):
    pairs = [(one[: len(other)], other[: len(one)]) for one, other in rows]
    counts = [entity_counts(*pair) for pair in pairs]
    correct, predicted, actual = (sum(column) for column in zip(*counts, strict=True))
    scores = compute([one for one, _ in pairs], [other for _, other in pairs])
    precision, recall = correct / (predicted or 1), correct / (actual or 1)
    assert scores["entity_precision"] == pytest.approx(precision)
    assert scores["entity_recall"] == pytest.approx(recall)
    assert scores["entity_f1"] == pytest.approx(2 * precision * recall / ((precision + recall) or 1))
