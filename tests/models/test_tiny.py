"""The tiny models and batches that tests and plugin authors build on."""

import pytest
import torch

from harness.api.batch import NOT_MASKED, Batch
from harness.testing import tiny_batch, tiny_model


def test_the_same_arguments_give_the_same_model_and_leave_the_random_state_alone():
    state = torch.get_rng_state()
    first = tiny_model("bert").state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(9)
    assert all(torch.equal(tensor, first[name]) for name, tensor in tiny_model("bert").state_dict().items())
    other = tiny_model("bert", seed=1).state_dict()
    assert not torch.equal(other["classifier.weight"], first["classifier.weight"])


@pytest.mark.parametrize("kind", ["classification", "regression", "qa", "text"])
def test_a_batch_is_ragged_and_fits_its_model(kind):
    made = tiny_batch(kind, batch=6, length=40, num_labels=3)
    batch = Batch.from_mapping(made)
    assert batch.kind == kind
    assert batch.lengths.max() == 40
    assert len(set(batch.lengths.tolist())) > 1
    assert (batch.inputs["input_ids"][~batch.mask] == 0).all()
    outputs = tiny_model("bert", kind=kind, num_labels=3)(
        **{k: v for k, v in made.items() if k not in ("answer_mask", "word_ids")}
    )
    assert torch.isfinite(outputs.loss)


def test_answers_lie_inside_the_answer_mask():
    made = tiny_batch("qa", batch=8)
    for edge in ("start_positions", "end_positions"):
        assert made["answer_mask"].gather(1, made[edge][:, None]).all()
    assert (made["start_positions"] <= made["end_positions"]).all()
    assert made["start_positions"][-1] == made["end_positions"][-1] == 0


@pytest.mark.parametrize("kind", ["classification", "text"])
def test_words_have_up_to_two_tokens_and_begin_anew_in_the_second_part(kind):
    made = tiny_batch(kind, length=12)
    lengths = made["attention_mask"].sum(-1).tolist()
    assert made["word_ids"][0].tolist() == [-1, 0, 0, 1, 1, -1, 0, 0, 1, 1, 2, -1]
    for words, length in zip(made["word_ids"].tolist(), lengths, strict=True):
        assert [place for place, word in enumerate(words) if word < 0] == [0, length // 2 - 1, *range(length - 1, 12)]


def test_of_a_text_words_are_masked_and_their_tokens_are_the_labels():
    made = tiny_batch("text", batch=8, vocab=40)
    masked = made["labels"] != NOT_MASKED
    assert masked.any(-1).all()
    assert (made["word_ids"][masked] >= 0).all()
    assert (made["input_ids"][masked] == 39).all()
    assert torch.equal(tiny_batch("text", batch=8, vocab=40)["labels"], made["labels"])


def test_a_length_without_room_for_two_parts_is_refused():
    with pytest.raises(ValueError, match="at least 6"):
        tiny_batch("qa", length=5)
