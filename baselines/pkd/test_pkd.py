"""pkd's terms against float64 loops written from its formulas."""

import math

import pytest
from transformers import PreTrainedModel

from harness.errors import UserError
from harness.host import Host
from harness.method import TaskInfo
from harness.tensors import ModelShape
from harness.testing import loss_terms, tiny_batch, tiny_model

KINDS = ["classification", "regression", "qa"]
T = 3.0


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def made(student_layers=6, **config):
    cls = Host.create().methods["pkd"]
    student, teacher = (ModelShape(n, layers, 768, 12, 3072) for n, layers in (("small", student_layers), ("base", 12)))
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**config), task=task, student=student, teachers=[teacher], seed=1)


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def outputs(model, batch):
    """[CLS] of every hidden state as lists, by layer; and rows of logits that a loss compares, with their labels."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    out = model.eval()(**inputs, output_hidden_states=True)
    cls = [states[:, 0].tolist() for states in out.hidden_states]
    if "answer_mask" not in batch:
        return cls, out.logits.tolist(), batch["labels"].tolist()
    rows, labels = [], []
    for logits, positions in ((out.start_logits, "start_positions"), (out.end_logits, "end_positions")):
        for i, mask in enumerate(batch["answer_mask"]):
            places = mask.nonzero().flatten().tolist()
            rows.append([logits[i, n].item() for n in places])
            labels.append(places.index(batch[positions][i].item()))
    return cls, rows, labels


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def patience(student, teacher, layer_map):
    """Of [CLS] vectors by layer and example."""
    count = len(student[0])
    total = 0.0
    for i in range(count):
        for m, g in layer_map.items():
            pairs = zip(unit(student[m][i]), unit(teacher[g][i]), strict=True)
            total += sum((s - t) ** 2 for s, t in pairs)
    return total / count


@pytest.mark.parametrize(("strategy", "layer_map"), [("skip", {1: 2, 2: 4}), ("last", {1: 4, 2: 5})])
@pytest.mark.parametrize("kind", KINDS)
def test_terms(kind, strategy, layer_map):
    student = double(kind=kind, layers=3, num_labels=3, seed=1)
    teacher = double(kind=kind, layers=6, num_labels=3, seed=2)
    batch = tiny_batch(kind, num_labels=3)
    config = {"temperature": T, "strategy": strategy}
    terms = loss_terms("pkd", student=student, teachers=[teacher.train()], batch=batch, config=config)
    assert teacher.training
    (cls_s, rows_s, labels), (cls_t, rows_t, _) = outputs(student, batch), outputs(teacher, batch)
    kd = task = 0.0
    for s, t, y in zip(rows_s, rows_t, labels, strict=True):
        if kind == "regression":
            kd, task = kd + (s[0] - t[0]) ** 2, task + (s[0] - y) ** 2
        else:
            p, q = (softmax([z / T for z in row]) for row in (t, s))
            kd += T**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            task -= math.log(softmax(s)[y])
    expected = {
        "task": task / len(labels),
        "kd": kd / len(labels),
        "patience": patience(cls_s, cls_t, layer_map),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


def test_nothing_is_lost_when_the_student_is_the_teacher():
    batch = tiny_batch("classification")
    terms = loss_terms("pkd", student=double(layers=3), teachers=[double(layers=3)], batch=batch)
    assert terms["kd"].item() == pytest.approx(0, abs=1e-12)
    assert terms["patience"].item() == pytest.approx(0, abs=1e-12)
    assert terms["task"].item() > 0.1


@pytest.mark.parametrize(("strategy", "layers"), [("skip", [2, 4, 6, 8, 10]), ("last", [7, 8, 9, 10, 11])])
def test_the_mappings_of_the_paper(strategy, layers):
    method = made(strategy=strategy)
    assert method.notes() == {"layer_map": [[layer] for layer in layers]}
    (stage,) = method.stages()
    assert stage.needs.teachers == (frozenset({"logits", *(f"hidden[{layer}]" for layer in layers)}),)
    assert "hidden[6]" not in stage.needs.student


def test_weights():
    assert made(alpha=0.2, beta=100).weights(None) == pytest.approx({"task": 0.8, "kd": 0.2, "patience": 100})


@pytest.mark.parametrize(
    ("student", "config", "words"),
    [
        ({"hidden": 16}, {}, "equal widths: student has 16, teacher 1 has 32"),
        ({"layers": 3}, {}, "'skip' needs a depth that divides the teacher's: student has 3, teacher 1 has 4"),
        ({"layers": 1}, {}, "two layers or more: student has 1, teacher 1 has 4"),
        ({"layers": 5}, {"strategy": "last"}, "not deeper than the teacher: student has 5, teacher 1 has 4"),
    ],
)
def test_what_cannot_be_names_both_numbers(student, config, words):
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=words):
        loss_terms("pkd", student=double(**student), teachers=[double(layers=4)], batch=batch, config=config)


def test_last_takes_depths_that_do_not_divide():
    batch = tiny_batch("classification")
    config = {"strategy": "last"}
    terms = loss_terms("pkd", student=double(layers=3), teachers=[double(layers=4)], batch=batch, config=config)
    assert set(terms) == {"task", "kd", "patience"}
