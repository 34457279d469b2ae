"""logit_kd's terms against float64 loops written from its formula."""

import math

import pytest

from harness.testing import loss_terms, tiny_batch, tiny_model

T = 3.0


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def distributions(model, batch):
    """Rows of logits that a loss compares, and the index of the label in each."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out = model(**inputs)
    if "answer_mask" not in batch:
        return out.logits.tolist(), batch["labels"].tolist()
    rows, labels = [], []
    for logits, positions in (
        (out.start_logits, batch["start_positions"]),
        (out.end_logits, batch["end_positions"]),
    ):
        for i, mask in enumerate(batch["answer_mask"]):
            places = mask.nonzero().flatten().tolist()
            rows.append([logits[i, n].item() for n in places])
            labels.append(places.index(positions[i].item()))
    return rows, labels


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_terms_of_distributions(kind):
    student, teacher = (tiny_model(kind=kind, num_labels=3, seed=s).double() for s in (1, 2))
    batch = tiny_batch(kind, num_labels=3)
    terms = loss_terms("logit_kd", student=student, teachers=[teacher.train()], batch=batch, config={"temperature": T})
    (s, labels), (t, _) = distributions(student, batch), distributions(teacher.eval(), batch)
    kd = 0.0
    for row_s, row_t in zip(s, t, strict=True):
        p, q = softmax([z / T for z in row_t]), softmax([z / T for z in row_s])
        kd += T**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(s)
    task = sum(-math.log(softmax(row)[label]) for row, label in zip(s, labels, strict=True)) / len(s)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"kd": kd, "task": task}, rel=1e-5)


def test_terms_of_regression():
    student, teacher = (tiny_model(kind="regression", num_labels=1, seed=s).double() for s in (1, 2))
    batch = tiny_batch("regression")
    terms = loss_terms("logit_kd", student=student, teachers=[teacher], batch=batch)
    (s, labels), (t, _) = distributions(student, batch), distributions(teacher, batch)
    kd = sum((a[0] - b[0]) ** 2 for a, b in zip(s, t, strict=True)) / len(s)
    task = sum((a[0] - y) ** 2 for a, y in zip(s, labels, strict=True)) / len(s)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"kd": kd, "task": task}, rel=1e-5)
