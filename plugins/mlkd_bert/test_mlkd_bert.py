"""MLKD-BERT's six terms against float64 loops written from their formulas."""

import math

import pytest
import torch
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
SIX = ["emb", "mha", "ffn", "ss", "sc", "kd"]
BASE = ModelShape("base", 12, 768, 12, 3072)


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


def made(kind="classification", config=None, **student):
    cls = Host.create().methods["mlkd_bert"]
    own = ModelShape("small", **{"layers": 4, "hidden": 312, "heads": 12, "ffn": 1200, **student})
    task = TaskInfo("some", kind, 2)
    return cls(cls.Config(**(config or {})), task=task, student=own, teachers=[BASE], seed=1)


def inside(model, batch):
    """Hidden states by layer (0: embeddings), attention outputs by layer, and the model's output."""
    contexts = [None]
    handles = [
        layer.attention.output.dense.register_forward_pre_hook(lambda m, args: contexts.append(args[0]))
        for layer in model.base_model.encoder.layer
    ]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out = model.eval()(**inputs, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    return out.hidden_states, contexts, out


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def relation_kl(student, teacher):
    """Of lists of vectors: the mean over rows of KL(R_T || R_S), R = softmax(X X^T / sqrt(d))."""

    def row(x, i):
        return softmax([sum(a * b for a, b in zip(x[i], y, strict=True)) / math.sqrt(len(y)) for y in x])

    return mean(kl(row(teacher, i), row(student, i)) for i in range(len(student)))


def token_relation(student, teacher, lengths, splits):
    """Of [B, N, H]: the mean over examples and splits."""
    return mean(
        mean(
            relation_kl(*(x[i, :length].chunk(splits, dim=-1)[part].tolist() for x in (student, teacher)))
            for part in range(splits)
        )
        for i, length in enumerate(lengths)
    )


def token_mse(a, b, lengths):
    return mean(
        mean((a[i, n, h] - b[i, n, h]).item() ** 2 for n in range(length) for h in range(a.shape[-1]))
        for i, length in enumerate(lengths)
    )


def contrast(vectors, classes, temperature):
    units = [[x / math.sqrt(sum(y * y for y in v)) for x in v] for v in vectors]

    def e(i, k):
        return math.exp(sum(a * b for a, b in zip(units[i], units[k], strict=True)) / temperature)

    everyone = range(len(units))
    total = 0.0
    for i in everyone:
        positives = [p for p in everyone if p != i and classes[p] == classes[i]]
        below = sum(e(i, k) for k in everyone if k != i)
        total += sum(-math.log(e(i, p) / below) for p in positives) / len(positives)
    return total / len(units)


def predictions(student, teacher, batch, temperature):
    """The kd term."""
    if "answer_mask" in batch:
        rows = [
            tuple([z / temperature for z in getattr(out, name)[i][answers].tolist()] for out in (student, teacher))
            for name in ("start_logits", "end_logits")
            for i, answers in enumerate(batch["answer_mask"])
        ]
    elif batch["labels"].is_floating_point():
        return mean(
            (s - t) ** 2 for s, t in zip(student.logits[:, 0].tolist(), teacher.logits[:, 0].tolist(), strict=True)
        )
    else:
        rows = [
            tuple([z / temperature for z in out.logits[i].tolist()] for out in (student, teacher))
            for i in range(len(batch["labels"]))
        ]
    return mean(kl(softmax(t), softmax(s)) for s, t in rows)


def values(terms):
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_stage_1_with_fewer_heads(kind):
    student, teacher = double(kind=kind, heads=2, seed=1), double(kind=kind, layers=4, seed=2)
    batch = tiny_batch(kind, length=9)
    terms = loss_terms("mlkd_bert", student=student, teachers=[teacher.train()], batch=batch, config={})
    assert teacher.training
    lengths = batch["attention_mask"].sum(-1).tolist()
    (h_s, c_s, _), (h_t, c_t, _) = inside(student, batch), inside(teacher, batch)
    expected = {
        "emb": token_relation(h_s[0], h_t[0], lengths, 1),
        "mha": sum(token_relation(c_s[m], c_t[2 * m], lengths, 2) for m in (1, 2)),
        "ffn": sum(token_mse(h_s[m], h_t[2 * m], lengths) for m in (1, 2)),
    }
    assert values(terms) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [6, 3, 2])
def test_all_losses_of_a_student_with_fewer_heads_that_begins_with_the_teachers_layers(heads, kind):
    teacher = tiny_model(kind=kind, layers=4, hidden=24, heads=12, seed=2)
    student = with_fewer_heads(teacher, heads, kind)
    teacher, batch = teacher.double(), tiny_batch(kind, length=7)
    terms = loss_terms("mlkd_bert", student=student, teachers=[teacher], batch=batch, config={"one_stage": True})
    lengths = batch["attention_mask"].sum(-1).tolist()
    (h_s, c_s, out_s), (h_t, c_t, out_t) = inside(student, batch), inside(teacher, batch)
    cls_s, cls_t = h_s[2][:, 0].tolist(), h_t[4][:, 0].tolist()
    expected = {
        "emb": token_relation(h_s[0], h_t[0], lengths, 1),
        "mha": sum(token_relation(c_s[m], c_t[2 * m], lengths, heads) for m in (1, 2)),
        "ffn": sum(token_mse(h_s[m], h_t[2 * m], lengths) for m in (1, 2)),
        "ss": relation_kl(cls_s, cls_t),
        "kd": predictions(out_s, out_t, batch, 1.0),
    }
    if kind == "classification":
        expected["sc"] = contrast(cls_s + cls_t, batch["labels"].tolist() * 2, 0.1)
    assert expected["emb"] == 0, "the embeddings are the teacher's"
    assert values(terms) == pytest.approx(expected, rel=1e-5)
    terms["mha"].backward()
    assert student.bert.encoder.layer[0].attention.self.query.weight.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_stage_2(kind):
    student = double(kind=kind, num_labels=3, seed=1)
    teacher = double(kind=kind, num_labels=3, layers=4, seed=2)
    batch = tiny_batch(kind, batch=6, num_labels=3)
    config = {"temperature": 2.0, "contrast_temperature": 0.5}
    models = {"student": student, "teachers": [teacher.train()]}
    terms = loss_terms("mlkd_bert", **models, batch=batch, stage="stage2", config=config)
    (h_s, _, out_s), (h_t, _, out_t) = inside(student, batch), inside(teacher, batch)
    c_s, c_t = h_s[2][:, 0].tolist(), h_t[4][:, 0].tolist()
    expected = {"ss": relation_kl(c_s, c_t), "kd": predictions(out_s, out_t, batch, 2.0)}
    if kind == "classification":
        expected["sc"] = contrast(c_s + c_t, batch["labels"].tolist() * 2, 0.5)
    assert values(terms) == pytest.approx(expected, rel=1e-5)


def test_relations_need_no_equal_widths():
    student, teacher = double(hidden=24, heads=4, seed=1), double(layers=4, seed=2)
    batch = tiny_batch("classification")
    config = {"one_stage": True}
    terms = loss_terms("mlkd_bert", student=student, teachers=[teacher], batch=batch, config=config)
    assert list(terms) == SIX
    lengths = batch["attention_mask"].sum(-1).tolist()
    (h_s, c_s, _), (h_t, c_t, _) = inside(student, batch), inside(teacher, batch)
    assert terms["emb"].item() == pytest.approx(token_relation(h_s[0], h_t[0], lengths, 1), rel=1e-5)
    mha = sum(token_relation(c_s[m], c_t[2 * m], lengths, 4) for m in (1, 2))
    assert terms["mha"].item() == pytest.approx(mha, rel=1e-5)
    assert terms["ss"].item() == pytest.approx(relation_kl(h_s[2][:, 0].tolist(), h_t[4][:, 0].tolist()), rel=1e-5)
    assert all(term > 0 for term in terms.values())


def test_two_views_of_the_student():
    batch = tiny_batch("classification", batch=6)
    config = {"views": "dropout", "emb": False}
    student, teacher = double(seed=1), double(layers=4, seed=2)

    def sc():
        models = {"student": student, "teachers": [teacher]}
        return loss_terms("mlkd_bert", **models, batch=batch, stage="stage2", config=config)["sc"]

    c = inside(student, batch)[0][2][:, 0].tolist()
    assert sc().item() == pytest.approx(contrast(c + c, batch["labels"].tolist() * 2, 0.1), rel=1e-5)
    student.train()
    torch.manual_seed(3)
    masked = sc()
    torch.manual_seed(3)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    two = [student(**inputs, output_hidden_states=True).hidden_states[2][:, 0].tolist() for _ in range(2)]
    assert two[0] != two[1]
    assert masked.item() == pytest.approx(contrast(two[0] + two[1], batch["labels"].tolist() * 2, 0.1), rel=1e-5)


def test_nothing_is_lost_when_the_student_is_the_teacher():
    models = {"student": double(seed=1), "teachers": [double(seed=1)]}
    config = {"one_stage": True, "sc": False}  # a contrast is not zero for equal vectors
    terms = loss_terms("mlkd_bert", **models, batch=tiny_batch("classification"), config=config)
    assert values(terms) == pytest.approx(dict.fromkeys(["emb", "mha", "ffn", "ss", "kd"], 0.0), abs=1e-12)


@pytest.mark.parametrize("off", SIX)
def test_every_loss_has_a_switch(off):
    method = made(config={off: False})
    models = {"student": double(seed=1), "teachers": [double(seed=2)]}
    named = [stage.name for stage in method.stages()]
    assert named == ["stage1", "stage2"]
    batch = tiny_batch("classification")
    terms = [loss_terms("mlkd_bert", **models, batch=batch, stage=stage, config={off: False}) for stage in named]
    assert [name for each in terms for name in each] == [name for name in SIX if name != off]
    wanted = set().union(*(stage.needs.student for stage in method.stages()))
    reads = {"emb": "embeddings", "mha": "context[1]", "ffn": "hidden[1]", "kd": "logits"}
    assert {name: need in wanted for name, need in reads.items()} == {name: name != off for name in reads}


def test_contrast_is_off_without_classes_and_the_record_says_so():
    assert "sc" not in made("classification").notes()
    for kind in ("regression", "qa"):
        method = made(kind)
        assert method.notes()["sc"] == f"off: a {kind} task has no classes"
        assert [stage.coupled for stage in method.stages()] == [frozenset(), {"ss"}]
    assert made("classification").stages()[1].coupled == {"ss", "sc"}
    assert made("classification").notes()["layer_map"] == [[3], [6], [9], [12]]


def test_a_stage_without_losses_is_left_out():
    assert [stage.name for stage in made(config=dict.fromkeys(SIX[:3], False)).stages()] == ["stage2"]
    only_contrast = {"config": dict.fromkeys(["emb", "mha", "ffn", "ss", "kd"], False)}
    method = made("qa", **only_contrast)
    (problem,) = method.check(method.task, method.student, method.teachers)
    assert "every loss of mlkd_bert is off for some, which is qa" in str(problem)


def test_what_cannot_be_names_both_numbers():
    def messages(**student):
        method = made(**student)
        return [str(problem) for problem in method.check(method.task, method.student, method.teachers)]

    assert messages(heads=3) == messages(heads=12) == []
    assert "small has 5 heads, base is 768 wide" in messages(heads=5, hidden=320)[0]
    assert "the student has 5 layers, the teacher 12" in messages(layers=5)[0]
    assert messages(layers=5, heads=5, config={"mha": False, "ffn": False}) == []
    with pytest.raises(UserError, match="student has 5 heads, teacher 1 is 32 wide"):
        loss_terms(
            "mlkd_bert",
            student=double(heads=5, hidden=20),
            teachers=[double()],
            batch=tiny_batch("classification"),
        )
