"""Each loss of matches equals plain loops over float64 numbers; schedules, stages, and errors of options and models."""

import functools
import math
from statistics import fmean

import pytest
import torch
from pydantic import ValidationError

from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from plugins.matches import comparisons, logits
from plugins.matches.config import ExampleTemperature
from tests.reference import formulas, reading

METHOD = Host.create().methods["matches"]
SMALL = {"layers": 2, "hidden": 16, "heads": 4, "ffn": 16}
KINDS = ("classification", "regression", "qa")
CLASSES = 3


@functools.cache
def model(kind, seed=1, **sizes):
    """A random model whose attention is far from uniform."""
    made = tiny_model(kind=kind, num_labels=CLASSES, seed=seed, **{**SMALL, **sizes})
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(14)
    return made.double().eval()


def batch_of(kind, **changes):
    return tiny_batch(kind, **{"batch": 4, "length": 9, "num_labels": CLASSES, "seed": 3, **changes})


def terms(kind, matches, *, student=None, teacher=None, **options):
    """The terms of a batch, and what both models computed on it, example by example."""
    student, teacher = student or model(kind), teacher or model(kind, seed=2, layers=4)
    given = {"student": student, "teachers": [teacher], "batch": batch_of(kind)}
    found = loss_terms(METHOD, **given, config={"matches": matches, **options})
    return {name: term.item() for name, term in found.items()}, read(student, kind), read(teacher, kind)


@functools.cache
def read(model, kind):
    """What a model computes on the examples of the batch of a kind."""
    return reading.read(model, batch_of(kind))


def term(kind, match, **models):
    found, own, theirs = terms(kind, [match], **models)
    return found["match_1"], own, theirs


def over_examples(compare, own, theirs):
    return fmean(compare(s, t) for s, t in zip(own, theirs, strict=True))


def by_token(compare):
    """A loss of two lists of vectors: the mean over tokens."""
    return lambda a, b: fmean(compare(x, y) for x, y in zip(a, b, strict=True))


def squares(a, b):
    return [(x - y) ** 2 for x, y in zip(a, b, strict=True)]


VECTOR_LOSSES = {
    "mse": lambda a, b: fmean(squares(a, b)),
    "l2": lambda a, b: math.fsum(squares(a, b)),
    "l1": lambda a, b: fmean(abs(x - y) for x, y in zip(a, b, strict=True)),
    "smooth_l1": lambda a, b: smooth_l1([a], [b]),
    "cosine": lambda a, b: 1 - formulas.cosine(a, b),
    "kl": lambda a, b: formulas.kl(formulas.softmax(b), formulas.softmax(a)),
    "ce": lambda a, b: formulas.cross_entropy(formulas.softmax(b), formulas.softmax(a)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", VECTOR_LOSSES)
def test_losses_on_the_vectors_of_tokens(kind, loss):
    value, own, theirs = term(kind, {"student": "hidden[2]", "teacher": "hidden[4]", "loss": loss})
    compare = by_token(VECTOR_LOSSES[loss])
    assert value == pytest.approx(over_examples(lambda s, t: compare(s.hidden[2], t.hidden[4]), own, theirs), rel=1e-9)
    assert value > 1e-3


@pytest.mark.parametrize("output", ["context", "queries", "keys", "values", "embeddings"])
def test_all_outputs_that_have_a_vector_for_each_token(output):
    names = {"student": f"{output}[1]", "teacher": f"{output}.3"} if output != "embeddings" else {}
    value, own, theirs = term("classification", {"student": output, "teacher": output, **names, "loss": "mse"})

    def vectors(example, layer):
        return example.hidden[0] if output == "embeddings" else getattr(example, output)[layer]

    expected = over_examples(lambda s, t: formulas.mse(vectors(s, 1), vectors(t, 3)), own, theirs)
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("tokens", ["cls", "mean"])
@pytest.mark.parametrize("loss", VECTOR_LOSSES)
def test_losses_on_one_vector_for_each_example(tokens, loss):
    match = {"student": "hidden[1]", "teacher": "hidden[2]", "loss": loss, "tokens": tokens}
    value, own, theirs = term("qa", match)

    def vector(rows):
        return rows[0] if tokens == "cls" else [fmean(column) for column in zip(*rows, strict=True)]

    compare = VECTOR_LOSSES[loss]
    expected = over_examples(lambda s, t: compare(vector(s.hidden[1]), vector(t.hidden[2])), own, theirs)
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", ["mse", "l2"])
def test_vectors_of_length_one(loss):
    match = {"student": "hidden[1]", "teacher": "hidden[2]", "loss": loss, "normalize": True}
    value, own, theirs = term("classification", match)
    compare = by_token(lambda a, b: VECTOR_LOSSES[loss](formulas.unit(a), formulas.unit(b)))
    assert value == pytest.approx(over_examples(lambda s, t: compare(s.hidden[1], t.hidden[2]), own, theirs), rel=1e-9)


def test_the_pooled_state():
    student, teacher, batch = (
        model("classification"),
        model("classification", seed=2, layers=4),
        batch_of("classification"),
    )
    value, *_ = term("classification", {"student": "pooled", "teacher": "pooled"}, student=student, teacher=teacher)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        pooled = [each.base_model(**inputs).pooler_output.tolist() for each in (student, teacher)]
    assert value == pytest.approx(fmean(map(VECTOR_LOSSES["mse"], *pooled)), rel=1e-9)


@pytest.mark.parametrize("project", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("pair", [False, True])
def test_projections(project, pair):
    """The map has a bias, and a pair shares it."""
    built = {}

    class Watched(METHOD):
        def losses(self, step, *given):
            torch.nn.init.normal_(next(iter(dict(step.modules["match_1"].named_parameters()).values())))
            built["module"] = step.modules["match_1"]
            return super().losses(step, *given)

    student, teacher = model("classification"), model("classification", seed=2, layers=4, hidden=24)
    match = {"student": "hidden[1]", "teacher": "hidden[2]", "project": project}
    if pair:
        match |= {"student": ["hidden[1]", "hidden[2]"], "teacher": ["hidden[2]", "hidden[4]"], "loss": "fsp"}
    batch = batch_of("classification")
    found = loss_terms(Watched, student=student, teachers=[teacher], batch=batch, config={"matches": [match]})
    weight, bias = (parameter.tolist() for parameter in built["module"].parameters())
    assert (len(weight), len(weight[0]), len(bias)) == (24, 16, 24)
    activation = {"linear": lambda x: x, "relu": lambda x: max(x, 0.0), "tanh": math.tanh}[project]

    def projected(rows):
        return [[activation(x + b) for x, b in zip(row, bias, strict=True)] for row in formulas.project(rows, weight)]

    def compare(s, t):
        if pair:
            grams = flow(projected(s.hidden[1]), projected(s.hidden[2])), flow(t.hidden[2], t.hidden[4])
            return formulas.mse(*grams)
        return formulas.mse(projected(s.hidden[1]), t.hidden[2])

    expected = over_examples(compare, reading.read(student, batch), reading.read(teacher, batch))
    assert found["match_1"].item() == pytest.approx(expected, rel=1e-9)


def flow(a, b):
    columns = list(zip(*a, strict=True)), list(zip(*b, strict=True))
    return [[formulas.dot(x, y) / len(a) for y in columns[1]] for x in columns[0]]


def selectivity(a, b):
    return [[formulas.dot(x, y) / len(x) for y in b] for x in a]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("loss", "matrix"), [("fsp", flow), ("gram", flow), ("nst", selectivity), ("mmd", selectivity)]
)
@pytest.mark.parametrize("pair", [True, False])
def test_losses_on_products_of_outputs(kind, loss, matrix, pair):
    names = ["hidden[1]", "hidden[2]"], ["hidden[2]", "hidden[4]"]
    if not pair:
        names = names[0][:1], names[1][:1]
    teacher = None if matrix is flow else model(kind, seed=2, layers=4, hidden=24)
    match = {"student": names[0] if pair else names[0][0], "teacher": names[1] if pair else names[1][0], "loss": loss}
    value, own, theirs = term(kind, match, teacher=teacher)

    def compare(s, t):
        layers = ((1, 2), (2, 4)) if pair else ((1, 1), (2, 2))
        matrices = [matrix(*(each.hidden[i] for i in of)) for each, of in zip((s, t), layers, strict=True)]
        return formulas.mse(*matrices)

    assert value == pytest.approx(over_examples(compare, own, theirs), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("match", "heads", "relations"),
    [
        ({"student": "values[1]", "teacher": "values[4]"}, (4, 4), (("values", "values"),)),
        ({"student": "hidden[1]", "teacher": "hidden[4]"}, (1, 1), (("hidden", "hidden"),)),
        ({"student": "hidden[1]", "teacher": "hidden[4]", "relation_heads": 2}, (2, 2), (("hidden", "hidden"),)),
        (
            {"student": ["queries[1]", "keys[1]"], "teacher": ["queries[4]", "keys[4]"]},
            (4, 4),
            (("queries", "keys"),),
        ),
    ],
)
def test_relations_of_tokens(kind, match, heads, relations):
    value, own, theirs = term(kind, {**match, "loss": "relation"}, teacher=model(kind, seed=2, layers=4, hidden=24))
    ((first, second),) = relations

    def compare(s, t):
        scores = [
            formulas.scores(getattr(each, first)[layer], getattr(each, second)[layer], count)
            for each, layer, count in ((s, 1, heads[0]), (t, 4, heads[1]))
        ]
        return formulas.relation_kl(scores[1], scores[0])

    assert value == pytest.approx(over_examples(compare, own, theirs), rel=1e-9)


def maps(example, layer, name, heads):
    """Attention of an example, [head][query][key], of one head if they are combined."""
    found = formulas.scores(example.queries[layer], example.keys[layer], example.heads)
    if name == "attention":
        found = [[formulas.softmax(row) for row in head] for head in found]
    if heads == "each":
        return found
    total = formulas.middle(found)
    return [[[x * (len(found) if heads == "sum" else 1) for x in row] for row in total]]


ROW_LOSSES = {
    "mse": lambda a, b: fmean(squares(a, b)),
    "kl": lambda a, b: formulas.kl(b, a),
    "ce": lambda a, b: formulas.cross_entropy(b, a),
    "cosine": lambda a, b: 1 - formulas.cosine(a, b),
}


@pytest.mark.parametrize("name", ["scores", "attention"])
@pytest.mark.parametrize(
    ("loss", "heads"),
    [(loss, heads) for loss in ROW_LOSSES for heads in ("each", "mean", "sum") if heads != "sum" or loss == "mse"],
)
def test_losses_on_attention(name, loss, heads):
    teacher = model("classification", seed=2, layers=4, heads=4 if heads == "each" else 2)
    match = {"student": f"{name}[1]", "teacher": f"{name}[3]", "loss": loss, "heads": heads}
    value, own, theirs = term("classification", match, teacher=teacher)

    def compare(s, t):
        rows = [
            pair
            for ours, others in zip(maps(s, 1, name, heads), maps(t, 3, name, heads), strict=True)
            for pair in zip(ours, others, strict=True)
        ]
        if name == "scores" and loss != "mse":
            rows = [tuple(map(formulas.softmax, pair)) for pair in rows]
        return fmean(ROW_LOSSES[loss](*pair) for pair in rows)

    assert value == pytest.approx(over_examples(compare, own, theirs), rel=1e-7)


@pytest.mark.parametrize(("loss", "power"), [("mse", 1), ("cosine", 1), ("nst", 2)])
def test_the_mean_over_all_tokens_of_a_batch(loss, power):
    match = {"student": "hidden[1]", "teacher": "hidden[2]", "loss": loss, "reduction": "tokens"}
    value, own, theirs = term("classification", match)

    def compare(s, t):
        if loss == "nst":
            return formulas.mse(selectivity(s.hidden[1], s.hidden[1]), selectivity(t.hidden[2], t.hidden[2]))
        return by_token(VECTOR_LOSSES[loss])(s.hidden[1], t.hidden[2])

    sizes = [len(each.hidden[1]) ** power for each in own]
    assert len(set(sizes)) > 1
    weighted = [size * compare(s, t) for size, s, t in zip(sizes, own, theirs, strict=True)]
    assert value == pytest.approx(math.fsum(weighted) / sum(sizes), rel=1e-9)


def vectors_of(examples, layer):
    return [example.hidden[layer][0] for example in examples]


def distances(vectors):
    found = [[math.dist(a, b) for b in vectors] for a in vectors]
    count = len(vectors) * (len(vectors) - 1)
    scale = math.fsum(map(math.fsum, found)) / count
    return [[d / scale for d in row] for row in found]


def angles(vectors):
    def unit(a, b):
        difference = [x - y for x, y in zip(a, b, strict=True)]
        return formulas.unit(difference) if any(difference) else difference

    return [[formulas.dot(unit(a, b), unit(a, c)) for b in vectors for c in vectors] for a in vectors]


def smooth_l1(a, b):
    differences = [abs(x - y) for u, v in zip(a, b, strict=True) for x, y in zip(u, v, strict=True)]
    return fmean(d - 0.5 if d >= 1 else d**2 / 2 for d in differences)


def similarity(a, b):
    rows = [[formulas.unit([formulas.dot(x, y) for y in each]) for x in each] for each in (a, b)]
    return formulas.mse(*rows)


def pkt(a, b):
    tables = []
    for each in (a, b):
        kernel = [[(formulas.cosine(x, y) + 1) / 2 for y in each] for x in each]
        tables.append([[k / math.fsum(row) for k in row] for row in kernel])
    return fmean(
        math.fsum(t * math.log((t + 1e-7) / (s + 1e-7)) for s, t in zip(*rows, strict=True))
        for rows in zip(*tables, strict=True)
    )


BATCH = {
    "rkd_distance": lambda a, b: smooth_l1(distances(a), distances(b)),
    "rkd_angle": lambda a, b: smooth_l1(angles(a), angles(b)),
    "similarity": similarity,
    "pkt": pkt,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", BATCH)
def test_losses_on_the_relations_of_examples(kind, loss):
    match = {"student": "hidden[1]", "teacher": "hidden[4]", "loss": loss, "tokens": "cls"}
    value, own, theirs = term(kind, match, teacher=model(kind, seed=2, layers=4, hidden=24))
    assert value == pytest.approx(BATCH[loss](vectors_of(own, 1), vectors_of(theirs, 4)), rel=1e-6)
    assert value > 1e-6


@pytest.mark.parametrize("loss", BATCH)
def test_a_text_that_is_twice_in_a_batch_has_no_large_gradient(loss):
    """Without dropout its vectors are equal, and those of a teacher may differ by rounding."""
    student, teacher = torch.randn(6, 16), torch.randn(6, 24)
    student[4], teacher[4] = student[1], teacher[1] * (1 + 1e-7)
    student.requires_grad_()
    comparisons.of_batch(loss, student, teacher).backward()
    assert student.grad.abs().max() < 10


@pytest.mark.parametrize("loss", BATCH)
def test_one_example_has_no_relations(loss):
    batch = {name: tensor[:1] for name, tensor in batch_of("classification").items()}
    match = {"student": "hidden[1]", "teacher": "hidden[4]", "loss": loss, "tokens": "mean"}
    student = model("classification")
    found = loss_terms(
        METHOD,
        student=student,
        teachers=[model("classification", 2, layers=4)],
        batch=batch,
        config={"matches": [match]},
    )["match_1"]
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-12)
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("kind", [*KINDS, "multilabel", "token_classification"])
@pytest.mark.parametrize("kd", ["kl", "ce", "mse"])
def test_losses_on_logits(kind, kd):
    t = 2.5
    found, own, theirs = terms(kind, [], kd=kd, temperature=t)
    assert found.keys() == {"task", "kd"}

    def compare(s, other):
        if kind == "regression":
            return (s.logits[0][0] - other.logits[0][0]) ** 2
        pairs = list(zip(s.logits, other.logits, strict=True))
        if kd == "mse":
            if kind == "multilabel":
                return fmean((a[0] - b[0]) ** 2 / t**2 for a, b in pairs)
            return formulas.mean(fmean(squares(a, b)) / t**2 for a, b in pairs)
        loss = formulas.kl if kd == "kl" else formulas.cross_entropy
        factor = t**2 if kd == "kl" else 1
        return factor * formulas.mean(loss(formulas.softmax(b, t), formulas.softmax(a, t)) for a, b in pairs)

    assert found["kd"] == pytest.approx(over_examples(compare, own, theirs), rel=1e-6)


def unit_with(z, epsilon):
    length = math.sqrt(formulas.dot(z, z)) + epsilon
    return [x / length for x in z]


@pytest.mark.parametrize("kind", ["classification", "qa"])
@pytest.mark.parametrize("kd", ["kl", "ce", "mse"])
@pytest.mark.parametrize("rule", [{"rule": "flsw", "beta": 0.7, "gamma": 2.0}, {"rule": "cwsm", "beta": 0.3}])
def test_a_temperature_for_each_example(kind, kd, rule):
    found, own, theirs = terms(kind, [], kd=kd, temperature=3.0, example_temperature=rule)

    def weight(s, t):
        if rule["rule"] == "cwsm":
            return 1 / (max(formulas.softmax(s)) + 1e-3)
        return (1 - formulas.dot(unit_with(s, 1e-4), unit_with(t, 1e-4))) ** rule["gamma"]

    losses = []
    for d in range(len(own[0].logits)):  # start and end of QA
        pairs = [(s.logits[d], t.logits[d]) for s, t in zip(own, theirs, strict=True)]
        weights = [weight(*pair) for pair in pairs]
        for (s, t), w in zip(pairs, weights, strict=True):
            tau = 3.0 + rule["beta"] * (fmean(weights) - w)
            p, q = formulas.softmax(t, tau), formulas.softmax(s, tau)
            if kd == "kl":
                losses.append(tau**2 * formulas.kl(p, q))
            elif kd == "ce":
                losses.append(formulas.cross_entropy(p, q))
            else:
                losses.append(fmean(squares(s, t)) / tau**2)
    assert found["kd"] == pytest.approx(fmean(losses), rel=1e-6)


@pytest.mark.parametrize("kd", ["kl", "ce", "mse"])
def test_the_temperature_of_an_example_is_positive(kd):
    """An undecided student has the weight 300 at 300 positions, a decided one 1."""
    mask = torch.zeros(3, 384, dtype=torch.bool)
    mask[0, :300] = mask[1:, :2] = True
    inputs = {"input_ids": torch.zeros(3, 384, dtype=torch.long), "attention_mask": torch.ones(3, 384)}
    batch = Batch("qa", ("a", "b", "c"), inputs, torch.zeros(3, 2, dtype=torch.long), mask)
    lowest = torch.finfo(torch.float32).min
    student, teacher = (torch.zeros(3, 2, 384).masked_fill(~mask[:, None], lowest) for _ in range(2))
    teacher[:, :, 1] = 5.0
    student.requires_grad_()
    for minimum in (0.1, 0.5):
        rule = ExampleTemperature(rule="cwsm", minimum=minimum)
        temperature = logits.example_temperature(rule, student, teacher, batch, 4.0)
        assert temperature[0].tolist() == pytest.approx([4 * minimum] * 2)
        assert (temperature[1:] > 4).all()
        (gradient,) = torch.autograd.grad(logits.loss(kd, student, teacher, batch, temperature), student)
        assert gradient.isfinite().all()
        assert (gradient[:, :, 1] < 0).all()  # towards the teacher's answer


@pytest.mark.parametrize("kind", ["classification", "qa", "token_classification"])
def test_the_largest_logit_of_the_teacher_is_exchanged_with_that_of_the_label(kind):
    found, own, theirs = terms(kind, [], kd="mse", temperature=1.0, probability_shift=True)
    plain, *_ = terms(kind, [], kd="mse", temperature=1.0)
    labels = reading.labels(batch_of(kind), kind)

    def shifted(z, label):
        z, top = list(z), max(range(len(z)), key=z.__getitem__)
        z[top], z[int(label)] = z[int(label)], z[top]
        return z

    losses = [
        formulas.mean(fmean(squares(a, shifted(b, y))) for a, b, y in zip(s.logits, t.logits, ys, strict=True))
        for s, t, ys in zip(own, theirs, labels, strict=True)
    ]
    assert found["kd"] == pytest.approx(fmean(losses), rel=1e-6)
    assert found["kd"] != pytest.approx(plain["kd"])


def test_a_mean_over_all_tokens_does_not_wait_for_the_device():
    """A tensor without data has no indices of its real tokens."""
    by_token, mask = torch.zeros(2, 5, device="meta"), torch.ones(2, 5, dtype=torch.bool, device="meta")
    assert comparisons.over_tokens(by_token, mask, "tokens").shape == ()


def test_positions_without_a_teacher_token_are_not_compared():
    """A teacher with another tokenizer has the lowest value there."""
    batch = Batch.from_mapping(batch_of("qa"))
    position = batch.answer_mask[0].nonzero()[1].item()
    lowest = torch.finfo(torch.float32).min
    teacher = torch.randn(4, 2, batch.answer_mask.shape[1]).masked_fill(~batch.answer_mask[:, None], lowest)
    student = teacher.clone()
    student[:, :, 0] += 1
    teacher[0, :, position] = lowest
    counts = batch.answer_mask.sum(-1) - torch.tensor([1, 0, 0, 0])
    assert logits.loss("mse", student, teacher, batch, 1.0).item() == pytest.approx((1 / counts).mean().item())
    rule = ExampleTemperature(rule="flsw")
    found = logits.example_temperature(rule, student, teacher, batch, 4.0)
    teacher[0, :, position] = student[0, :, position] = 0
    torch.testing.assert_close(found, logits.example_temperature(rule, student, teacher, batch, 4.0))


SHAPES = ModelShape("small", 2, 16, 4, 64), ModelShape("base", 4, 24, 2, 96)


def bound(task="classification", shapes=SHAPES, *, matches=(), **config):
    """The method with these options; a match without an output compares the first layers."""
    student, teacher = shapes
    config["matches"] = [{"student": "hidden[1]", "teacher": "hidden[1]", **match} for match in matches]
    info = TaskInfo("tiny", task, 3)
    return METHOD(METHOD.Config(**config), task=info, student=student, teachers=[teacher], seed=1)


def step_of(method, stage=0, index=0, steps=10):
    return Step(method.stages()[stage], index, steps, 0.0, 1.0, torch.nn.ModuleDict(), torch.Generator())


def test_weights_change_linearly_over_the_stage():
    method = bound(
        kd_weight={"start": 1, "end": 0},
        task_weight={"start": 0, "end": 1},
        matches=[{"weight": 3}, {"name": "second", "weight": {"start": 2, "end": 4}}],
    )
    assert method.weights(step_of(method)) == {"task": 0, "kd": 1, "match_1": 3, "second": 2}
    assert method.weights(step_of(method, index=5)) == {"task": 0.5, "kd": 0.5, "match_1": 3, "second": 3}


def test_the_temperature_changes_linearly_and_is_logged():
    student, teacher, batch = model("classification"), model("classification", 2, layers=4), batch_of("classification")
    config = {"temperature": {"start": 1, "end": 5}}
    given = {"student": student, "teachers": [teacher], "batch": batch}
    moving = loss_terms(METHOD, **given, config=config, index=3, steps=4)["kd"]
    assert moving.item() == loss_terms(METHOD, **given, config={"temperature": 4.0})["kd"].item()


def test_a_stage_of_matches_before_that_of_logits():
    method = bound(
        separate=True,
        matches=[{"student": "hidden[2]", "teacher": "attention[1]"} | {"teacher": "hidden[3]", "project": "linear"}],
    )
    first, second = method.stages()
    assert (first.name, first.needs.student, first.needs.teachers) == ("match", {"hidden[2]"}, ({"hidden[3]"},))
    assert (second.name, second.needs.student, second.needs.teachers) == ("distill", {"logits"}, ({"logits"},))
    assert method.weights(step_of(method)) == {"match_1": 1.0}
    assert method.weights(step_of(method, stage=1)) == {"task": 1.0, "kd": 1.0}


def test_only_terms_that_compare_examples_or_count_tokens_depend_on_the_batch():
    matches = [
        {"student": "hidden[1]", "teacher": "hidden[1]", "loss": "pkt", "tokens": "cls"},
        {"student": "hidden[1]", "teacher": "hidden[1]", "project": "linear"},
        {"student": "hidden[1]", "teacher": "hidden[1]", "project": "linear", "reduction": "tokens"},
    ]
    (stage,) = bound(matches=matches).stages()
    assert stage.batch_dependent == {"match_1", "match_3"}
    (stage,) = bound(example_temperature={"rule": "cwsm"}).stages()
    assert stage.batch_dependent == {"kd"}


def test_attention_is_read_as_queries_and_keys_and_no_teacher_is_run_without_a_use():
    (stage,) = bound(matches=[{"student": "scores[1]", "teacher": "scores[2]", "heads": "mean"}], kd="none").stages()
    assert (stage.needs.student, stage.needs.teachers) == (
        {"logits", "queries[1]", "keys[1]"},
        ({"queries[2]", "keys[2]"},),
    )
    (stage,) = bound(kd="none").stages()
    assert stage.needs.teachers == ()


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({"student": "hidden"}, ["unknown output 'hidden'", "hidden.2"]),
        ({"student": "pooled[1]"}, ["unknown output 'pooled[1]'"]),
        ({"teacher": "hiden[1]"}, ["unknown output 'hiden[1]'"]),
        ({"student": ["hidden[1]", "hidden[2]"]}, ["one output of student and teacher, or a list of two"]),
        (
            {"student": ["hidden[1]", "hidden[2]"], "teacher": ["hidden[1]", "hidden[2]"]},
            ["mse compares single outputs", "fsp"],
        ),
        ({"student": "scores[1]"}, ["scores[1] and hidden[1] cannot be compared"]),
        ({"student": "pooled"}, ["pooled and hidden[1] cannot be compared"]),
        ({"loss": "pkt"}, ["pkt is no loss on hidden[1]", "tokens: cls"]),
        ({"loss": "fsp", "tokens": "cls"}, ["fsp is no loss on hidden[1]", "rkd_distance"]),
        ({"student": "scores[1]", "teacher": "scores[1]", "loss": "nst"}, ["nst is no loss on scores[1]"]),
        ({"loss": "huber"}, ["loss"]),
        ({"name": "kd"}, ["invalid name 'kd'"]),
        ({"loss": "cosine", "normalize": True}, ["`normalize: True` has no effect on cosine"]),
        ({"heads": "mean"}, ["`heads: mean` has no effect"]),
        ({"relation_heads": 2}, ["`relation_heads: 2` has no effect"]),
        ({"loss": "fsp", "reduction": "tokens"}, ["`reduction: tokens` has no effect on fsp"]),
        ({"loss": "relation", "project": "linear"}, ["`project: linear` has no effect on relation"]),
        ({"weight": -1}, ["weight"]),
        ({"weight": {"start": 1, "stop": 2}}, ["stop"]),
    ],
)
def test_invalid_matches_are_refused_with_a_reason(match, words):
    with pytest.raises(ValidationError) as raised:
        METHOD.Config(matches=[{"student": "hidden[1]", "teacher": "hidden[1]", **match}])
    assert [word for word in words if word not in str(raised.value)] == [], raised.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"matches": [{"name": "a", "student": "hidden.1", "teacher": "hidden.2"}] * 2}, "duplicate name 'a'"),
        ({"matches": [{"student": "hidden.2"}]}, r"matches\.0\.teacher\n  Field required"),
        ({"matches": [{"teacher": "hidden.2"}]}, r"matches\.0\.student\n  Field required"),
        ({"kd_weight": {"end": 0}}, r"start\n  Field required"),
        ({"temperature": {"start": 4}}, r"end\n  Field required"),
        ({"separate": True}, "no first stage"),
        ({"kd": "none", "temperature": 2.0}, "`temperature` has no effect without kd"),
        ({"temperature": {"start": 0, "end": 4}}, "above 0"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_invalid_options_are_refused_with_a_reason(options, words):
    with pytest.raises(ValidationError, match=words):
        METHOD.Config(**options)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (
            {"student": "hidden[3]", "project": "linear"},
            "match_1: there is no hidden[3]: small has 2 layers, counted from 1",
        ),
        ({"teacher": "hidden[0]", "project": "linear"}, "match_1: there is no hidden[0]: base has 4 layers"),
        ({}, "mse needs equal widths, or `project: linear`: small has 16, base has 24"),
        (
            {"student": "scores[1]", "teacher": "scores[1]"},
            "equal numbers of heads are needed, or `heads: mean`: small has 4",
        ),
        (
            {"student": "values[1]", "teacher": "values[1]", "loss": "relation"},
            "or `relation_heads`: small has 4, base has 2",
        ),
        (
            {"loss": "relation", "relation_heads": 5},
            "relation_heads 5 does not divide the width 16 of hidden[1] of small",
        ),
    ],
)
def test_models_that_do_not_fit_are_reported(match, words):
    method = bound(matches=[match])
    problems = method.check(method.task, method.student, method.teachers)
    assert [problem.message for problem in problems if words in problem.message], problems


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("regression", {"probability_shift": True}, "one label among classes"),
        ("multilabel", {"example_temperature": {"rule": "cwsm"}}, "not for multilabel"),
    ],
)
def test_options_that_a_kind_of_task_does_not_have(task, options, words):
    method = bound(task, **options)
    assert any(words in problem.message for problem in method.check(method.task, method.student, method.teachers))


def test_pooled_is_refused_where_nothing_is_pooled():
    match = {"student": "pooled", "teacher": "pooled"}
    with pytest.raises(UserError, match="nothing is pooled"):
        term("qa", match)
