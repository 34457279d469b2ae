"""The tiny models and batches of the test kit."""

from typing import get_args

import pytest
import torch

from harness.api.batch import NOT_MASKED, Batch, TaskKind
from harness.models.capture import Capture
from harness.testing import tiny_batch, tiny_model


def test_the_same_arguments_give_the_same_model_and_leave_the_random_state_alone():
    state = torch.get_rng_state()
    first = tiny_model("bert").state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(9)
    assert all(torch.equal(tensor, first[name]) for name, tensor in tiny_model("bert").state_dict().items())
    other = tiny_model("bert", seed=1).state_dict()
    assert not torch.equal(other["classifier.weight"], first["classifier.weight"])


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_a_batch_is_ragged_and_fits_its_model(kind):
    tensors = tiny_batch(kind, batch=6, length=40, num_labels=3)
    batch = Batch.from_mapping(tensors, kind if kind == "token_classification" else None)
    assert batch.kind == kind
    assert batch.lengths.max() == 40
    assert len(set(batch.lengths.tolist())) > 1
    assert (batch.inputs["input_ids"][~batch.mask] == 0).all()
    outputs = tiny_model("bert", kind=kind, num_labels=3)(
        **{k: v for k, v in tensors.items() if k not in ("answer_mask", "word_ids")}
    )
    assert torch.isfinite(outputs.loss)


@pytest.mark.parametrize("kind", get_args(TaskKind))
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_the_kind_of_a_model_is_that_of_its_head(kind, family):
    assert Capture(tiny_model(family, kind=kind, num_labels=3)).kind == kind


def test_answers_are_inside_the_answer_mask():
    tensors = tiny_batch("qa", batch=8)
    for edge in ("start_positions", "end_positions"):
        assert tensors["answer_mask"].gather(1, tensors[edge][:, None]).all()
    assert (tensors["start_positions"] <= tensors["end_positions"]).all()
    assert tensors["start_positions"][-1] == tensors["end_positions"][-1] == 0


@pytest.mark.parametrize("kind", ["classification", "text"])
def test_words_have_up_to_two_tokens_and_ids_restart_in_the_second_sentence(kind):
    tensors = tiny_batch(kind, length=12)
    lengths = tensors["attention_mask"].sum(-1).tolist()
    assert tensors["word_ids"][0].tolist() == [-1, 0, 0, 1, 1, -1, 0, 0, 1, 1, 2, -1]
    for words, length in zip(tensors["word_ids"].tolist(), lengths, strict=True):
        assert [place for place, word in enumerate(words) if word < 0] == [0, length // 2 - 1, *range(length - 1, 12)]


def test_masked_words_of_a_text_are_the_labels():
    tensors = tiny_batch("text", batch=8, vocab=40)
    masked = tensors["labels"] != NOT_MASKED
    assert masked.any(-1).all()
    assert (tensors["word_ids"][masked] >= 0).all()
    assert (tensors["input_ids"][masked] == 39).all()
    assert torch.equal(tiny_batch("text", batch=8, vocab=40)["labels"], tensors["labels"])


def test_a_length_too_short_for_two_sentences_raises():
    with pytest.raises(ValueError, match="at least 6"):
        tiny_batch("qa", length=5)
