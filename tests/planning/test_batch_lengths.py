"""Estimated lengths of padded batches, compared with batches that are drawn at random."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from datasets import Dataset

from harness.config.training_schema import TrainingSpec
from harness.planning.batch_lengths import SPECIAL_TOKENS, TOKEN_BYTES, BatchLengths
from harness.planning.time_estimate import TimeEstimate
from harness.tasks.fingerprints import fingerprint


def data_of(lengths, **columns):
    """A task with texts of about `lengths` tokens."""
    texts = ["x" * round((length - SPECIAL_TOKENS) * TOKEN_BYTES) for length in lengths]
    train = Dataset.from_dict({"text": texts, "label": [0] * len(texts), **columns})
    return SimpleNamespace(train_fingerprint=fingerprint(train), splits=SimpleNamespace(train=train))


@pytest.mark.parametrize("batch", [8, 32])
def test_random_batches_are_padded_to_their_longest_row(batch):
    rng = random.Random(1)
    lengths = [min(120, 5 + round(rng.expovariate(1 / 15))) for _ in range(2000)]
    shuffled = rng.sample(lengths, len(lengths))
    batches = [shuffled[i : i + batch] for i in range(0, len(shuffled), batch)]
    real = sum(max(rows) * len(rows) for rows in batches) / len(lengths)
    estimated = BatchLengths().tokens(data_of(lengths), TrainingSpec(batch_size=batch, max_length=128))
    assert estimated == pytest.approx(real, rel=0.2)


@pytest.mark.parametrize(("batching", "real"), [("random", 42), ("grouped", 28 * 1.2), ("bucketed", 28 * 1.05)])
def test_batching_and_truncation(batching, real):
    data = data_of([14, 42] * 500)
    spec = {"batching": batching, "batch_size": 32}
    assert BatchLengths().tokens(data, TrainingSpec(max_length=128, **spec)) == pytest.approx(real, rel=0.1)
    assert BatchLengths().tokens(data, TrainingSpec(max_length=16, **spec)) <= 16


def test_all_texts_of_an_example_count():
    alone, pair = data_of([20] * 10), data_of([20] * 10, text_pair=["x" * 90] * 10)
    training = TrainingSpec(max_length=128)
    assert BatchLengths().tokens(pair, training) == pytest.approx(BatchLengths().tokens(alone, training) + 20)


def test_the_pass_that_fills_the_cache_has_its_own_batches(small):
    """It reads the training set once, in batches of similar rows, whatever the batches of the training are."""
    times = set()
    for settings in ("training.batch_size=4", "training.batch_size=16", "training.batching=bucketed"):
        plan = small.plan("methods=[logit_kd]", "seeds=[1]", settings)
        estimate = TimeEstimate("cpu", 1, plan.resolved.shapes)
        times.add(estimate.outputs(plan.runs[0], 0))
    assert len(times) == 1


def test_runs_on_longer_texts_take_longer(small):
    (run,) = small.plan("methods=[finetune]", "seeds=[1]", "training.max_length=64").runs
    train = run.data.splits.train
    longer = train.remove_columns("text").add_column("text", ["word " * 40] * len(train))
    splits = replace(run.data.splits, train=longer)
    data = replace(run.data, load=lambda: splits, train_fingerprint=fingerprint(longer))
    estimate = TimeEstimate("cpu", 1, {})
    assert estimate.run(replace(run, data=data)) > estimate.run(run)
