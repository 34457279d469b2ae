"""TinyBERT's terms against float64 loops written from its formulas."""

import math

import pytest
from transformers import PreTrainedModel

from harness.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model

KINDS = ["classification", "regression", "qa"]


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def pair(kind, *, student_hidden=32, layers=(2, 4)):
    student = double(kind=kind, layers=layers[0], hidden=student_hidden, seed=1)
    return student, double(kind=kind, layers=layers[1], seed=2)


def eager(model, batch):
    """Hidden states, and scores before the softmax, by transformers' own means."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    model.eval()
    hidden = model.base_model(**inputs, output_hidden_states=True).hidden_states
    heads = model.config.num_attention_heads
    scores = []
    for layer, states in zip(model.base_model.encoder.layer, hidden[:-1], strict=True):
        attention = layer.attention.self
        q, k = (
            linear(states).unflatten(-1, (heads, -1)).transpose(1, 2) for linear in (attention.query, attention.key)
        )
        scores.append(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]))
    return hidden, scores


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def token_mse(a, b, lengths):
    return mean(
        mean((a[i, n, h] - b[i, n, h]).item() ** 2 for n in range(length) for h in range(a.shape[-1]))
        for i, length in enumerate(lengths)
    )


def pair_mse(a, b, lengths):
    return mean(
        mean(
            (a[i, head, q, k] - b[i, head, q, k]).item() ** 2
            for head in range(a.shape[1])
            for q in range(length)
            for k in range(length)
        )
        for i, length in enumerate(lengths)
    )


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def attention_kl(student, teacher_probabilities, lengths):
    def of_query(i, head, q, length):
        p = teacher_probabilities[i][head][q]
        s = softmax(student[i, head, q, :length].tolist())
        return sum(a * math.log(a / b) for a, b in zip(p, s, strict=True))

    return mean(
        mean(of_query(i, head, q, length) for head in range(student.shape[1]) for q in range(length))
        for i, length in enumerate(lengths)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_intermediate_stage(kind):
    student, teacher = pair(kind)
    batch = tiny_batch(kind, length=9)
    teacher.train()  # handed over in training mode: its dropout must not show
    terms = loss_terms("tinybert", student=student, teachers=[teacher], batch=batch)
    assert teacher.training
    lengths = batch["attention_mask"].sum(-1).tolist()
    (h_s, a_s), (h_t, a_t) = eager(student, batch), eager(teacher, batch)
    expected = {
        "attention": sum(pair_mse(a_s[m - 1], a_t[2 * m - 1], lengths) for m in (1, 2)),
        "hidden": sum(token_mse(h_s[m], h_t[2 * m], lengths) for m in (1, 2)),
        "embedding": token_mse(h_s[0], h_t[0], lengths),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_the_kl_of_a_mean_mapping_averages_probabilities():
    student, teacher = pair("classification")
    batch = tiny_batch("classification", length=8)
    config = {"attention_loss": "kl", "mapping": "mean"}
    terms = loss_terms("tinybert", student=student, teachers=[teacher], batch=batch, config=config)
    lengths = batch["attention_mask"].sum(-1).tolist()
    (h_s, a_s), (h_t, a_t) = eager(student, batch), eager(teacher, batch)

    def blocks(m):
        return [a_t[2 * m - 2], a_t[2 * m - 1]]

    def probabilities(m):
        return [
            [
                [
                    [
                        mean(column)
                        for column in zip(*(softmax(a[i, h, q, :n].tolist()) for a in blocks(m)), strict=True)
                    ]
                    for q in range(n)
                ]
                for h in range(a_s[0].shape[1])
            ]
            for i, n in enumerate(lengths)
        ]

    attention = sum(attention_kl(a_s[m - 1], probabilities(m), lengths) for m in (1, 2))
    hidden = sum(token_mse(h_s[m], (h_t[2 * m - 1] + h_t[2 * m]) / 2, lengths) for m in (1, 2))
    assert terms["attention"].item() == pytest.approx(attention, rel=1e-5)
    assert terms["hidden"].item() == pytest.approx(hidden, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_stage(kind):
    student, teacher = pair(kind)
    batch = tiny_batch(kind)
    config = {"temperature": 2.0}
    terms = loss_terms("tinybert", student=student, teachers=[teacher], batch=batch, stage="prediction", config=config)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out_s, out_t = student(**inputs), teacher.eval()(**inputs)
    if kind == "qa":
        answers = batch["answer_mask"]
        rows = [
            (s[i][answers[i]].tolist(), t[i][answers[i]].tolist())
            for s, t in ((out_s.start_logits, out_t.start_logits), (out_s.end_logits, out_t.end_logits))
            for i in range(len(answers))
        ]
    else:
        rows = list(zip(out_s.logits.tolist(), out_t.logits.tolist(), strict=True))
    if kind == "regression":
        expected = mean((s[0] - t[0]) ** 2 for s, t in rows)
    else:
        expected = mean(
            -sum(p * math.log(q) for p, q in zip(softmax([x / 2 for x in t]), softmax([x / 2 for x in s]), strict=True))
            for s, t in rows
        )
    assert list(terms) == ["prediction"]
    assert terms["prediction"].item() == pytest.approx(expected, rel=1e-5)


def test_nothing_is_lost_when_the_student_is_the_teacher():
    teacher = double(layers=2, seed=1)
    batch = tiny_batch("classification")
    for loss in ("mse", "kl", "cosine"):
        config = {"attention_loss": loss}
        terms = loss_terms("tinybert", student=double(layers=2, seed=1), teachers=[teacher], batch=batch, config=config)
        assert {name: term.item() for name, term in terms.items()} == pytest.approx(
            dict.fromkeys(terms, 0.0), abs=1e-12
        )


def test_another_width_is_projected():
    student, teacher = pair("classification", student_hidden=16)
    terms = loss_terms("tinybert", student=student, teachers=[teacher], batch=tiny_batch("classification"))
    assert all(term.isfinite() and term > 0 for term in terms.values())


def test_what_cannot_be_names_both_numbers():
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=r"student has 2, teacher 1 has 4"):
        loss_terms("tinybert", student=double(heads=2), teachers=[double()], batch=batch)
    with pytest.raises(UserError, match=r"3 layers, the teacher 4"):
        loss_terms("tinybert", student=double(layers=3), teachers=[double(layers=4)], batch=batch)
