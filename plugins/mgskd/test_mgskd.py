"""The terms of mgskd against plain loops over float64 numbers, its options, and its model checks."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch
from plugins.mgskd import structure
from tests.reference.comparison import evaluate
from tests.reference.formulas import dot, kl, mean, mse, predictions, project, scores, softmax
from tests.reference.settings import batch_of, copied, model

TOLERANCE = {"rel": 1e-9, "abs": 1e-12}


def smooth_l1(a, b):
    return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5


def angle(i, j, k):
    a, b = ([x - y for x, y in zip(end, i, strict=True)] for end in (j, k))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def pairs(own, theirs, heads):
    compared = zip(scores(own, own, heads), scores(theirs, theirs, heads), strict=True)
    return mean(mse(*of_head) for of_head in compared)


def largest(values, count, without=()):
    return sorted((i for i in range(len(values)) if i not in without), key=lambda i: -values[i])[:count]


def triangles(own, theirs, heads, anchors, partners):
    by_head = [[softmax(row) for row in of_head] for of_head in scores(theirs, theirs, heads)]
    units = range(len(theirs))
    weights = [[sum(p[i][j] for p in by_head) for j in units] for i in units]
    losses = []
    for i in largest([sum(row[j] for row in weights) for j in units], anchors):
        near = largest(weights[i], partners, without=[i])
        corners = [(i, j, k) for j in near for k in near if j != k]
        losses += [
            smooth_l1(*(angle(*(vectors[c] for c in corner)) for vectors in (own, theirs))) for corner in corners
        ]
    return mean(losses)


def samples(own, theirs, heads):
    """Triangles of the examples' mean vectors, in each head."""
    losses, width = [], len(own[0]) // heads
    for part in (slice(h * width, h * width + width) for h in range(heads)):
        for corner in ((i, j, k) for i in range(len(own)) for j in range(len(own)) for k in range(len(own))):
            if len({*corner}) == 3:
                losses.append(smooth_l1(*(angle(*(vectors[c][part] for c in corner)) for vectors in (own, theirs))))
    return mean(losses)


def middle(vectors):
    return [mean(entries) for entries in zip(*vectors, strict=True)]


def words_of(word_ids):
    """The tokens of each word, in order."""
    found = []
    for token, word in enumerate(word_ids):
        if word >= 0 and token and word_ids[token - 1] == word:
            found[-1].append(token)
        elif word >= 0:
            found.append([token])
    return found


def formulas(case, batch, heads, first, anchors, partners):
    """The terms of stage structure."""
    words = [words_of(row.tolist()) for row in batch["word_ids"]]

    student, teacher = case.student, case.teachers[0]
    total = dict.fromkeys(["token_pair", "token_triplet", "span_pair", "span_triplet", "sample_triplet"], 0.0)
    for m in range(student[0].layers + 1):
        g = m * teacher[0].layers // student[0].layers
        own = [project(example.hidden[m], case.maps["hidden"]) for example in student]
        theirs = [example.hidden[g] for example in teacher]
        if m >= first:
            pooled = [[middle(tokens) for tokens in vectors] for vectors in (own, theirs)]
            total["sample_triplet"] += samples(*pooled, heads)
            continue
        total["token_pair"] += mean(pairs(a, b, heads) for a, b in zip(own, theirs, strict=True))
        total["token_triplet"] += mean(
            triangles(a, b, heads, anchors, partners) for a, b in zip(own, theirs, strict=True)
        )
        spans = [
            [[middle([tokens[n] for n in word]) for word in of_example] for tokens in (a, b)]
            if len(of_example) > 2
            else None
            for a, b, of_example in zip(own, theirs, words, strict=True)
        ]
        total["span_pair"] += mean(pairs(*pair, heads) if pair else 0.0 for pair in spans)
        total["span_triplet"] += mean(triangles(*pair, heads, anchors, partners) if pair else 0.0 for pair in spans)
    return total


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({}, {"hidden": 24}),
        ({"relation_heads": 4, "first_sample_layer": 2, "anchors": 3, "partners": 2}, {"hidden": 8}),
    ],
)
def test_structure_is_what_the_formulas_say(kind, config, sizes):
    student, teacher, batch = model(kind, "student"), model(kind, "teacher", **sizes), batch_of(kind)
    terms, case = evaluate("mgskd", kind, student, [teacher], batch, config=config)
    heads = config.get("relation_heads", sizes["hidden"] // 8)
    chosen = config.get("first_sample_layer", 1), config.get("anchors", 20), config.get("partners", 20)
    assert terms == pytest.approx(formulas(case, batch, heads, *chosen), **TOLERANCE)
    assert min(terms.values()) > 1e-4


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification", "qa"])
def test_prediction_is_the_soft_target_loss(kind):
    student, teacher = model(kind, "student"), model(kind, "teacher")
    terms, case = evaluate(
        "mgskd", kind, student, [teacher], batch_of(kind), stage="prediction", config={"temperature": 3.0}
    )
    assert terms == pytest.approx({"kd": (1 if kind == "regression" else 9) * predictions(case, kl, 3.0)}, **TOLERANCE)


def test_an_example_with_fewer_than_three_spans_contributes_nothing():
    student, teacher = model("classification", "student"), model("classification", "teacher")
    batch = batch_of("classification")
    both = evaluate("mgskd", "classification", student, [teacher], batch)[0]
    batch["word_ids"][1:] = torch.where(batch["word_ids"][1:] == 0, 0, -1)  # a word of each sentence is left
    one = {name: value[:1] for name, value in batch.items()}
    few, alone = (evaluate("mgskd", "classification", student, [teacher], b)[0] for b in (batch, one))
    for term in ("span_pair", "span_triplet"):
        assert few[term] == pytest.approx(alone[term] / 4, rel=1e-9)
        assert few[term] != pytest.approx(both[term], rel=1e-3)


def test_words_of_both_sentences_are_apart_though_their_numbers_are_equal():
    batch = tiny_batch("classification", batch=1, length=9)
    batch["word_ids"] = torch.tensor([[-1, 0, 0, 1, -1, 0, 1, 1, -1]])
    student, teacher = model("classification", "student"), model("classification", "teacher")
    terms, case = evaluate("mgskd", "classification", student, [teacher], batch)
    assert len(words_of(batch["word_ids"][0].tolist())) == 4
    expected = formulas(case, batch, 2, 1, 20, 20)
    assert terms["span_triplet"] == pytest.approx(expected["span_triplet"], **TOLERANCE)


def test_losses_do_not_change_the_states_that_other_terms_read():
    """The authors' code multiplies the hidden states by the mask in place."""
    student, teacher = model("classification", "student"), model("classification", "teacher")
    seen = []

    class Watched(Host.create().methods["mgskd"]):
        def losses(self, step, batch, student, teachers):
            before = [(tensor, tensor._version) for tensor in (*student.tensors(), *teachers[0].tensors())]
            terms = super().losses(step, batch, student, teachers)
            seen.append(all(tensor._version == version for tensor, version in before))
            return terms

    loss_terms(Watched, student=student, teachers=[teacher], batch=batch_of("classification"))
    assert seen == [True]


def test_pooling_and_triangles_ignore_padding():
    student, teacher = model("classification", "student"), model("classification", "teacher")
    batch = batch_of("classification")
    pads = {"word_ids": -1}
    padded = {
        name: torch.nn.functional.pad(each, (0, 4), value=pads.get(name, 0)) if each.ndim == 2 else each
        for name, each in batch.items()
    }
    terms = [evaluate("mgskd", "classification", student, [teacher], b)[0] for b in (batch, padded)]
    assert terms[0] == pytest.approx(terms[1], rel=1e-9)


def test_random_spans_are_drawn_from_the_run():
    student, teacher = model("classification", "student"), model("classification", "teacher")
    inputs = {"student": student, "teachers": [teacher], "batch": batch_of("classification")}
    config = {"spans": "random"}
    first, again, other = (loss_terms("mgskd", **inputs, config=config, seed=seed) for seed in (1, 1, 2))
    assert first["span_pair"].item() == again["span_pair"].item() != other["span_pair"].item()
    assert first["token_pair"].item() == other["token_pair"].item()
    assert "span_pair" not in loss_terms("mgskd", **inputs, config={"spans": "none"})


def test_two_examples_have_no_triangle():
    student, teacher = model("classification", "student"), model("classification", "teacher")
    terms = evaluate("mgskd", "classification", student, [teacher], batch_of("classification", batch=2))[0]
    assert terms["sample_triplet"] == 0
    assert terms["token_triplet"] > 0


def test_equal_vectors_have_no_large_gradient():
    """Those of a text that is twice in a batch, or of a repeated word, if the teacher's differ by rounding."""
    student, teacher = torch.randn(6, 16), torch.randn(6, 24)
    student[4], teacher[4] = student[1], teacher[1] * (1 + 1e-7)
    student.requires_grad_()
    tokens = torch.ones(1, 6, dtype=torch.bool)
    losses = [
        structure.sample_loss(student, teacher, 4),
        structure.triangle_loss(student[None], teacher[None], tokens, 4, anchors=6, partners=5),
    ]
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, student)
        assert 0 < gradient.abs().max() < 10


def test_gradients_are_finite_in_half_precision():
    student, teacher = (copied(model("classification", role)) for role in ("student", "teacher"))
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss_terms("mgskd", student=student, teachers=[teacher], batch=batch_of("classification"))
    sum(terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def bound_method(config=None, layers=4, width=768):
    cls = Host.create().methods["mgskd"]
    student, teacher = ModelShape("small", layers, 312, 12, 1200), ModelShape("base", 12, width, 12, 3072)
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**(config or {})), task=task, student=student, teachers=[teacher], seed=1)


def test_defaults_are_those_of_the_paper():
    method = bound_method()
    assert method.notes() == {"layer_map": [[3], [6], [9], [12]], "first_sample_layer": 2, "relation_heads": 64}
    weights = method.weights(None)
    assert {weights[f"token_{kind}"] for kind in ("pair", "triplet")} == {1}
    assert weights["sample_triplet"] == 4 * weights["span_pair"]
    assert [stage.share for stage in method.stages()] == [2, 1]
    assert method.stages()[0].batch_dependent == {"sample_triplet"}
    assert bound_method(width=1024).relation_heads == 64
    assert bound_method(width=312).relation_heads == 39
    assert bound_method(width=6).relation_heads == 1


@pytest.mark.parametrize(
    ("config", "terms", "student"),
    [
        ({"pairs": False, "spans": "none"}, {"token_triplet", "sample_triplet"}, {0, 1, 2, 3, 4}),
        ({"triangles": False}, {"token_pair", "span_pair"}, {0, 1}),
        ({"first_sample_layer": 0}, {"sample_triplet"}, {0, 1, 2, 3, 4}),
        ({"first_sample_layer": 5, "triangles": False, "spans": "none"}, {"token_pair"}, {0, 1, 2, 3, 4}),
    ],
)
def test_what_is_off_is_neither_read_nor_computed(config, terms, student):
    method = bound_method(config)
    needs = method.stages()[0].needs
    assert {*method._terms} == terms
    assert needs.student == {f"hidden[{m}]" if m else "embeddings" for m in student}
    assert needs.teachers == ({f"hidden[{3 * m}]" if m else "embeddings" for m in student},)
    small = loss_terms(
        "mgskd",
        student=model("qa", "student", layers=4),
        teachers=[model("qa", "teacher")],
        batch=batch_of("qa"),
        config=config,
    )
    assert small.keys() == terms


@pytest.mark.parametrize(
    ("config", "layers", "words"),
    [
        ({"relation_heads": 7}, 4, "relation_heads is 7; base is 768 wide"),
        ({"first_sample_layer": 6}, 4, "first_sample_layer is 6; small has 4 layers"),
        ({"first_sample_layer": 0, "triangles": False}, 4, "every loss of stage 'structure' of mgskd is off"),
        ({}, 5, "the student has 5 layers, the teacher 12"),
    ],
)
def test_errors_for_models(config, layers, words):
    method = bound_method(config, layers)
    (problem,) = method.check(method.task, method.student, method.teachers)
    assert words in str(problem)


def test_words_need_word_ids():
    batch = {name: each for name, each in batch_of("classification").items() if name != "word_ids"}
    models = {"student": model("classification", "student"), "teachers": [model("classification", "teacher")]}
    with pytest.raises(UserError, match="set spans: random or spans: none"):
        loss_terms("mgskd", **models, batch=batch)
