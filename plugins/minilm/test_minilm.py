"""MiniLM's terms, in both versions, against float64 loops written from their formulas."""

import math

import pytest
from pydantic import ValidationError
from transformers import PreTrainedModel

from harness.errors import UserError
from harness.host import Host
from harness.method import TaskInfo
from harness.models import students
from harness.suite.schema import StudentSpec
from harness.tasks.base import Task
from harness.tensors import ModelShape
from harness.testing import loss_terms, tiny_batch, tiny_model

KINDS = ["classification", "regression", "qa"]


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def with_fewer_heads(teacher, heads, kind="classification"):
    """The student that a suite builds of `{layers: 2, heads: ..., init: uniform}`."""
    labels = ("no", "yes") if kind == "classification" else ()
    task = Task("some", kind, load=lambda source: None, metrics=(), score="", labels=labels)
    spec = StudentSpec(layers=2, heads=heads, init="uniform")
    student = students.build(spec, name="small", task=task, teacher=teacher, checkpoint=None, seed=1)
    assert student.config.num_attention_heads == heads
    return student.double()


def made(config=None, **student):
    cls = Host.create().methods["minilm"]
    own, teacher = ModelShape("small", **{"layers": 6, "hidden": 312, "heads": 12, "ffn": 1200, **student}), BASE
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**(config or {})), task=task, student=own, teachers=[teacher], seed=1)


BASE = ModelShape("base", 12, 768, 12, 3072)


def vectors(model, batch, layer):
    """Queries, keys and values [B, N, H] of a layer, from the outputs of its linear maps."""
    attention = model.base_model.encoder.layer[layer - 1].attention.self
    taken = {}
    handles = [
        getattr(attention, name).register_forward_hook(lambda m, a, out, name=name: taken.update({name: out}))
        for name in ("query", "key", "value")
    ]
    model.eval()(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
    for handle in handles:
        handle.remove()
    return taken["query"], taken["key"], taken["value"]


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def relation(x, y, query, length, part):
    """Row `query` of softmax(X Y^T / sqrt(d)) over the real keys, X and Y [N, H] being cut to the features `part`."""
    x, y = x[:, part].tolist(), y[:, part].tolist()
    width = len(x[0])
    return softmax([sum(a * b for a, b in zip(x[query], y[k], strict=True)) / math.sqrt(width) for k in range(length)])


def relation_kl(student, teacher, lengths, heads):
    """`student` and `teacher` are pairs X, Y of [B, N, H]."""
    total = 0.0
    for i, length in enumerate(lengths):
        of_example = 0.0
        for head in range(heads):
            for query in range(length):
                rows = []
                for x, y in (teacher, student):
                    d = x.shape[-1] // heads
                    rows.append(relation(x[i], y[i], query, length, slice(head * d, head * d + d)))
                of_example += sum(p * math.log(p / q) for p, q in zip(*rows, strict=True))
        total += of_example / heads / length
    return total / len(lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_version_1(kind):
    student, teacher = double(kind=kind, hidden=16, seed=1), double(kind=kind, layers=3, seed=2)
    batch = tiny_batch(kind, length=8)
    terms = loss_terms("minilm", student=student, teachers=[teacher.train()], batch=batch, config={})
    assert teacher.training
    lengths = batch["attention_mask"].sum(-1).tolist()
    (q_s, k_s, v_s), (q_t, k_t, v_t) = vectors(student, batch, 2), vectors(teacher, batch, 3)
    expected = {
        "attention": relation_kl((q_s, k_s), (q_t, k_t), lengths, 4),
        "value": relation_kl((v_s, v_s), (v_t, v_t), lengths, 4),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("asked", "heads"), [(None, 8), (2, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_version_2_of_other_widths_and_head_counts(kind, asked, heads):
    student, teacher = double(kind=kind, hidden=24, heads=3, seed=1), double(kind=kind, layers=3, seed=2)
    batch = tiny_batch(kind, length=8)
    config = {"version": 2, "relation_heads": asked, "teacher_layer": 2}
    terms = loss_terms("minilm", student=student, teachers=[teacher.train()], batch=batch, config=config)
    lengths = batch["attention_mask"].sum(-1).tolist()
    pairs = zip(vectors(student, batch, 2), vectors(teacher, batch, 2), strict=True)
    expected = {
        name: relation_kl((s, s), (t, t), lengths, heads)
        for name, (s, t) in zip(("qq", "kk", "vv"), pairs, strict=True)
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [6, 3, 2])
def test_version_2_of_a_student_with_fewer_heads_that_begins_with_the_teachers_layers(heads, kind):
    teacher = tiny_model(kind=kind, layers=4, hidden=24, heads=12, seed=2)
    student = with_fewer_heads(teacher, heads, kind)
    teacher, batch = teacher.double(), tiny_batch(kind, length=7)
    terms = loss_terms("minilm", student=student, teachers=[teacher], batch=batch, config={"version": 2})
    lengths = batch["attention_mask"].sum(-1).tolist()
    pairs = zip(vectors(student, batch, 2), vectors(teacher, batch, 4), strict=True)
    expected = {
        name: relation_kl((s, s), (t, t), lengths, 24) for name, (s, t) in zip(("qq", "kk", "vv"), pairs, strict=True)
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    terms["qq"].backward()
    assert student.bert.encoder.layer[1].attention.self.query.weight.grad.any()


@pytest.mark.parametrize("version", [1, 2])
def test_nothing_is_lost_when_the_student_is_the_teacher(version):
    batch, config = tiny_batch("classification"), {"version": version}
    terms = loss_terms("minilm", student=double(seed=1), teachers=[double(seed=1)], batch=batch, config=config)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(dict.fromkeys(terms, 0.0), abs=1e-12)


def test_the_labels_come_last():
    student, batch = double(num_labels=3, seed=1), tiny_batch("classification", num_labels=3)
    terms = loss_terms("minilm", student=student, teachers=[double(seed=2)], batch=batch, stage="finetune")
    logits = student(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}).logits
    losses = [-math.log(softmax(z)[y]) for z, y in zip(logits.tolist(), batch["labels"].tolist(), strict=True)]
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"task": sum(losses) / 4}, rel=1e-5)
    assert [(stage.name, stage.share, bool(stage.needs.teachers)) for stage in made().stages()] == [
        ("distill", 2, True),
        ("finetune", 1, False),
    ]


@pytest.mark.parametrize(("hidden", "heads"), [(768, 48), (312, 24), (384, 48), (128, 32)])
def test_relation_heads_are_the_largest_common_divisor_up_to_48(hidden, heads):
    assert made({"version": 2}, hidden=hidden).notes() == {"teacher_layer": 12, "relation_heads": heads}


def test_what_cannot_be_names_both_numbers():
    batch = tiny_batch("classification")

    def refused(words, config, **student):
        with pytest.raises(UserError, match=words):
            loss_terms("minilm", student=double(**student), teachers=[double()], batch=batch, config=config)

    refused("student has 2, teacher 1 has 4", {}, heads=2)
    refused(
        "relation_heads 16 does not divide both widths: student has 24, teacher 1 has 32",
        {"version": 2, "relation_heads": 16},
        hidden=24,
        heads=3,
    )
    refused("teacher_layer is 3; teacher 1 has 2 layers", {"teacher_layer": 3})
    with pytest.raises(ValidationError, match="relation_heads is 12, but version 1 has none"):
        made({"relation_heads": 12})
