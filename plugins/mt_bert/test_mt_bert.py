"""MT-BERT's terms against float64 loops written from its formulas."""

import math

import pytest

from harness.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model

KINDS = ["classification", "regression", "qa"]
SWITCHES = [
    {},
    {"temperature": 2.0},
    {"hidden_loss": False},
    {"weighting": False},
    {"weighting": False, "hidden_loss": False, "temperature": 3.0, "cofinetune": False},
]


def models(kind, *, hidden=32):
    """A student, and two teachers of other depths and of one width, so that the maps are identities."""
    student = tiny_model(kind=kind, layers=2, hidden=hidden, seed=1).double()
    return student, [tiny_model(kind=kind, layers=n, hidden=hidden, seed=n).double() for n in (4, 6)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def outputs(model, batch):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    return model.eval()(**inputs, output_hidden_states=True)


def hidden_mse(a, b, lengths):
    return mean(
        mean((a[i, n, h] - b[i, n, h]).item() ** 2 for n in range(length) for h in range(a.shape[-1]))
        for i, length in enumerate(lengths)
    )


def distributions(out, batch, i):
    """(logits, label) of example i: one, or for QA start and end, over the places where an answer may lie."""
    if "answer_mask" not in batch:
        return [(out.logits[i].tolist(), batch["labels"][i].item())]
    places = batch["answer_mask"][i].nonzero().flatten().tolist()
    return [
        (logits[i][places].tolist(), places.index(batch[label][i].item()))
        for logits, label in ((out.start_logits, "start_positions"), (out.end_logits, "end_positions"))
    ]


def task_loss(logits, label, kind):
    return (logits[0] - label) ** 2 if kind == "regression" else -math.log(softmax(logits)[label])


def quotient(student, teacher, label, kind, t, weighting):
    if kind == "regression":
        loss = (student[0] - teacher[0]) ** 2
    else:
        p, q = (softmax([x / t for x in logits]) for logits in (teacher, student))
        loss = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return loss / (1 + task_loss(teacher, label, kind)) if weighting else loss


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", SWITCHES)
def test_the_terms(kind, config):
    student, teachers = models(kind)
    batch = tiny_batch(kind, length=9)
    for teacher in teachers:
        teacher.train()  # handed over in training mode: its dropout must not show
    terms = loss_terms("mt_bert", student=student, teachers=teachers, batch=batch, config=config)
    lengths = batch["attention_mask"].sum(-1).tolist()
    s, ts = outputs(student, batch), [outputs(teacher, batch) for teacher in teachers]
    t, weighting = config.get("temperature", 1.0), config.get("weighting", True)
    expected = {
        "hidden": sum(
            hidden_mse(s.hidden_states[m], out.hidden_states[m * depth // 2], lengths)
            for out, depth in zip(ts, (4, 6), strict=True)
            for m in (1, 2)
        ),
        "distillation": sum(
            mean(
                mean(
                    quotient(own, theirs, label, kind, t, weighting)
                    for (own, label), (theirs, _) in zip(
                        distributions(s, batch, i), distributions(out, batch, i), strict=True
                    )
                )
                for i in range(len(lengths))
            )
            for out in ts
        ),
        "task": mean(
            mean(task_loss(own, label, kind) for own, label in distributions(s, batch, i)) for i in range(len(lengths))
        ),
    }
    if not config.get("hidden_loss", True):
        del expected["hidden"]
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_each_teacher_has_its_own_maps_to_the_students_width():
    from harness.host import Host
    from harness.method import TaskInfo
    from harness.models.families import shape

    student = tiny_model(layers=2, hidden=16)
    teachers = [tiny_model(layers=4, hidden=32), tiny_model(layers=2, hidden=16, seed=5)]
    cls = Host.create().methods["mt_bert"]
    shapes = [shape(each.config, "teacher") for each in teachers]
    own = shape(student.config, "student")
    method = cls(cls.Config(), task=TaskInfo("t", "classification", 2), student=own, teachers=shapes, seed=1)
    maps = method.modules(own, shapes)
    assert sorted(tuple(each.weight.shape) for each in maps.values()) == [(16, 16), (16, 16), (16, 32), (16, 32)]
    assert method.notes() == {"layer_maps": [[2, 4], [1, 2]]}
    (stage,) = method.stages()
    assert stage.needs.teachers == ({"logits", "hidden[2]", "hidden[4]"}, {"logits", "hidden[1]", "hidden[2]"})
    terms = loss_terms("mt_bert", student=student, teachers=teachers, batch=tiny_batch("classification"))
    assert all(term.isfinite() and term > 0 for term in terms.values())


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    student, teachers = models(kind)
    batch = tiny_batch(kind, length=9)
    padded = {
        name: value if value.dim() == 1 else value.new_zeros(len(value), 14).index_copy(1, _first(9), value)
        for name, value in batch.items()
    }
    terms, again = (loss_terms("mt_bert", student=student, teachers=teachers, batch=each) for each in (batch, padded))
    assert {k: v.item() for k, v in again.items()} == pytest.approx({k: v.item() for k, v in terms.items()}, rel=1e-9)


def _first(count):
    import torch

    return torch.arange(count)


def test_a_teacher_that_is_wrong_teaches_less():
    student, (teacher, _) = models("classification")
    batch = tiny_batch("classification")
    right = {**batch, "labels": outputs(teacher, batch).logits.argmax(-1)}
    wrong = {**batch, "labels": outputs(teacher, batch).logits.argmin(-1)}
    losses = [
        loss_terms("mt_bert", student=student, teachers=[teacher], batch=each)["distillation"].item()
        for each in (right, wrong)
    ]
    assert losses[0] > losses[1]


def test_hidden_is_zero_when_the_student_is_its_teacher():
    student = tiny_model(layers=2, seed=1).double()
    twins = [tiny_model(layers=2, seed=1).double() for _ in range(2)]
    terms = loss_terms("mt_bert", student=student, teachers=twins, batch=tiny_batch("classification"))
    assert terms["hidden"].item() == pytest.approx(0.0, abs=1e-12)


def test_depths_that_cannot_be_mapped_name_both_and_the_teacher():
    student, teachers = tiny_model(layers=2), [tiny_model(layers=4), tiny_model(layers=3)]
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=r"teacher 2: .*the student has 2 layers, the teacher 3"):
        loss_terms("mt_bert", student=student, teachers=teachers, batch=batch)
    assert loss_terms(
        "mt_bert", student=student, teachers=teachers, batch=batch, config={"hidden_loss": False}
    ).keys() == {"distillation", "task"}
