"""Batches that are unlike the usual ones: a single example, a single token, other types of tensors."""

from harness.api.batch import IGNORED
from tests.reference.settings import batch_of


def without_token_types(kind):
    return batch_of(kind, token_type_ids=False)


def one_example(kind):
    return {name: tensor[1:2] for name, tensor in batch_of(kind).items()}


def one_token(kind):
    """The second example has nothing but its [CLS]."""
    batch = {name: tensor.clone() for name, tensor in batch_of(kind).items()}
    for name in ("input_ids", "attention_mask", "token_type_ids", "answer_mask"):
        if name in batch:
            batch[name][1, 1:] = 0
    for name in ("start_positions", "end_positions"):
        if name in batch:
            batch[name][1] = 0
    if kind == "token_classification":
        batch["labels"][1] = IGNORED
    return batch


def in_other_types(kind):
    """Masks as booleans or integers, whichever they are not; numbers as a column of doubles, classes as a column."""
    batch = batch_of(kind)
    batch["attention_mask"] = batch["attention_mask"].bool()
    if kind == "qa":
        batch["answer_mask"] = batch["answer_mask"].long()
    else:
        batch["labels"] = batch["labels"][:, None]
    if kind == "regression":
        batch["labels"] = batch["labels"].double()
    return batch
