"""Batches of unlabelled text: which tokens are masked, and that a batch depends on its position only."""

import math
from collections import Counter

import pytest
import torch
from datasets import Dataset
from torch import nn

from harness.api.batch import NOT_MASKED
from harness.api.task import Splits
from harness.models import tokenizers
from harness.tasks.corpus import TextCorpus, encode_text
from harness.tasks.text_task import TEXT_TASK
from harness.tasks.tokenization import concatenate
from harness.training.batch_stream import TokenizedTask
from harness.training.continued_modules import continue_from, weights_of
from harness.training.text_distillation import TextBatchStream

CPU = torch.device("cpu")
WORDS = ["sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song"]


def stream(masking=0.15, seed=1, rows=400, smoothing=0.0, skewed=False):
    tokenizer = tokenizers.whole_word([" ".join(WORDS)])
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 20, (rows,), generator=generator).tolist()
    picked = [[(i + j * j) % 10 for j in range(length)] for i, length in enumerate(lengths)]
    if skewed:  # the first words are the most frequent
        picked = [[word * ((i + word) % 10) // 10 for word in row] for i, row in enumerate(picked)]
    lines = [" ".join(WORDS[word] for word in row) for row in picked]
    texts = Dataset.from_dict({"text": lines})
    encoded = concatenate(encode_text(TextCorpus(texts, "x"), tokenizer, 24, rows))
    task = TokenizedTask(TEXT_TASK, Splits(texts, {}), "tokenizer", int(tokenizer.pad_token_id), encoded, {})
    return TextBatchStream(task, tokenizer, batch_size=16, masking=masking, seed=seed, smoothing=smoothing), tokenizer


def batches(made, count=25):
    return [made.at(position, CPU).whole("tokenizer") for position in range(count)]


def test_labels_are_the_original_tokens_and_other_tokens_are_unchanged():
    masked, tokenizer = stream()
    plain, _ = stream(masking=0.0)
    for shown, original in zip(batches(masked), batches(plain), strict=True):
        assert shown.kind == original.kind == "text"
        assert shown.ids == original.ids
        ids, before = shown.inputs["input_ids"], original.inputs["input_ids"]
        chosen = shown.labels != NOT_MASKED
        assert torch.equal(shown.labels[chosen], before[chosen])
        assert torch.equal(ids[~chosen], before[~chosen])
        assert (chosen.sum(-1) >= 1).all()
        special = torch.isin(before, torch.tensor(tokenizer.all_special_ids))
        assert not (chosen & special).any()
        assert (original.labels == NOT_MASKED).all()


def test_shares_are_those_of_bert():
    """15 % of the tokens of long texts are chosen: 80 % become [MASK], 10 % random tokens, 10 % are unchanged."""
    masked, tokenizer = stream(rows=3000)
    made = batches(masked, 180)
    words = torch.cat([batch.word_ids[batch.lengths > 12].flatten() for batch in made]) >= 0
    labels = torch.cat([batch.labels[batch.lengths > 12].flatten() for batch in made])
    ids = torch.cat([batch.inputs["input_ids"][batch.lengths > 12].flatten() for batch in made])
    chosen = labels != NOT_MASKED
    share = chosen.sum() / words.sum()
    # One token at least in each text lifts the share a little above 15 %: by (1 - 0.15)^n of n tokens over n.
    assert 0.15 < share.item() < 0.17
    as_mask = (ids[chosen] == tokenizer.mask_token_id).float().mean().item()
    as_it_was = (ids[chosen] == labels[chosen]).float().mean().item()
    assert as_mask == pytest.approx(0.8, abs=0.03)
    assert as_it_was == pytest.approx(0.1, abs=0.03)


def test_a_batch_depends_on_its_position_only_and_each_epoch_is_masked_again():
    one, _ = stream()
    other, _ = stream()
    forward = batches(one, 60)
    backward = [other.at(position, CPU).whole("tokenizer") for position in reversed(range(60))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert a.ids == b.ids
        assert torch.equal(a.inputs["input_ids"], b.inputs["input_ids"])
        assert torch.equal(a.labels, b.labels)
    first = {id: row for batch in forward[:25] for id, row in zip(batch.ids, batch.labels, strict=True)}
    second = {id: row for batch in forward[25:50] for id, row in zip(batch.ids, batch.labels, strict=True)}
    assert first.keys() == second.keys()
    same = [torch.equal(row[row != NOT_MASKED], second[id][second[id] != NOT_MASKED]) for id, row in first.items()]
    assert sum(same) < len(same)


def test_only_real_tokens_are_counted():
    made, _ = stream()
    placed = made.at(3, CPU)
    assert placed.tokens == int(placed.whole("tokenizer").inputs["attention_mask"].sum())


def test_with_smoothing_rare_tokens_are_masked_more_often():
    """Sampling by the weights count^-0.7 agrees with a plain loop over the same counts."""
    plain, _ = stream(masking=0.0, rows=3000, skewed=True)
    made, _ = stream(rows=3000, smoothing=0.7, skewed=True)
    counts = Counter(plain.encoded["tokenizer"].train.input_ids.values.tolist())
    shown: Counter[int] = Counter()
    chosen: Counter[int] = Counter()
    expected: Counter[int] = Counter()
    for original, masked in zip(batches(plain, 180), batches(made, 180), strict=True):
        words = original.inputs["input_ids"][original.word_ids >= 0].tolist()
        labels = masked.labels[masked.labels != NOT_MASKED].tolist()
        assert len(labels) == math.ceil(0.15 * len(words)), "of the whole batch"
        total = sum(counts[word] ** -0.7 for word in words)
        for word in words:
            shown[word] += 1
            expected[word] += len(labels) * counts[word] ** -0.7 / total
        chosen.update(labels)
    rare, common = min(shown, key=shown.get), max(shown, key=shown.get)
    assert counts[common] > 1.5 * counts[rare], "the texts have rarer and commoner words"
    assert chosen[rare] / shown[rare] > 1.15 * chosen[common] / shown[common]
    assert 0.6 * expected[rare] < chosen[rare] <= 1.05 * expected[rare], "drawn without replacement: a little less"


def test_a_smoothed_batch_depends_on_its_position_only():
    one, other = stream(smoothing=0.7)[0], stream(smoothing=0.7)[0]
    for position in (7, 3):
        a, b = (made.at(position, CPU).whole("tokenizer") for made in (one, other))
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.inputs["input_ids"], b.inputs["input_ids"])


def test_modules_continue_where_name_and_shape_are_the_same():
    """A buffer with a row for each example, and a tied weight, of which each name has a copy."""

    def modules(examples, value):
        made = nn.ModuleDict({"same": nn.Linear(2, 3), "other": nn.Linear(2, 2), "state": nn.Module()})
        made["tied"] = made["same"]
        made["state"].register_buffer("of_examples", torch.zeros(examples))
        made["state"].register_buffer("steps", torch.zeros(()))
        for each in (*made.parameters(), *made.buffers()):
            nn.init.constant_(each, value)
        return made

    weights = weights_of(modules(4, 1.0))
    assert len({weight.data_ptr() for weight in weights.values()}) == len(weights)
    weights = {name: weight for name, weight in weights.items() if not name.startswith("other")}
    later = modules(5, 2.0)
    continue_from({**weights, "unknown": torch.zeros(1)}, later)
    values = {name: {*weight.flatten().tolist()} for name, weight in later.state_dict().items()}
    assert {name for name, value in values.items() if value == {2.0}} == {
        "other.weight",
        "other.bias",
        "state.of_examples",
    }
    assert {name for name, value in values.items() if value == {1.0}} == {
        "same.weight",
        "same.bias",
        "tied.weight",
        "tied.bias",
        "state.steps",
    }
