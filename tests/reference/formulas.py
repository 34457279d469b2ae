"""Every method's terms as plain loops over float64 numbers, written from the formulas and from nothing of the code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.reference.reading import Example, Matrix, Vector


@dataclass(frozen=True)
class Case:
    """One batch. `labels[i]` has one for each distribution of example i; `maps` are the learnable maps' weights [out,
    in] by their names, `biases` those of them that have one; `drawn` is what a random mapping drew."""

    kind: str
    student: list[Example]
    teachers: list[list[Example]]
    labels: list[list[float]]
    options: Mapping[str, Any]
    maps: Mapping[str, Matrix]
    drawn: list[list[int]]
    biases: Mapping[str, Vector] = field(default_factory=dict)
    stage: str = ""

    def over_examples(self, loss: Callable[[Example, Example, list[float]], float], teacher: int = 0) -> float:
        """The mean over examples of a loss of student, teacher (the student itself, where there is none) and labels."""
        taught = self.teachers[teacher] if self.teachers else self.student
        return mean(loss(s, t, y) for s, t, y in zip(self.student, taught, self.labels, strict=True))


def mean(values: Iterable[float]) -> float:
    """The mean; 0 of nothing, as for an example without labelled tokens."""
    listed = list(values)
    return math.fsum(listed) / max(len(listed), 1)


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def softmax(logits: Vector, temperature: float = 1.0) -> Vector:
    exps = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [e / math.fsum(exps) for e in exps]


def kl(p: Vector, q: Vector) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def cross_entropy(p: Vector, q: Vector) -> float:
    return -math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def unit(v: Vector) -> Vector:
    return [x / math.sqrt(dot(v, v)) for x in v]


def project(tokens: Matrix, weight: Matrix) -> Matrix:
    return [[dot(token, row) for row in weight] for token in tokens]


def mse(a: Matrix, b: Matrix) -> float:
    return mean((x - y) ** 2 for u, v in zip(a, b, strict=True) for x, y in zip(u, v, strict=True))


def scores(x: Matrix, y: Matrix, heads: int) -> list[Matrix]:
    """X Y^T / sqrt(d) of each head: [head][query][key]."""
    d = len(x[0]) // heads
    parts = [slice(h * d, h * d + d) for h in range(heads)]
    return [[[dot(q[part], k[part]) / math.sqrt(d) for k in y] for q in x] for part in parts]


def relation_kl(teacher: list[Matrix], student: list[Matrix]) -> float:
    """Of the scores of two models: KL(softmax(T) || softmax(S)), the mean over heads and queries."""
    rows = [(t, s) for ts, ss in zip(teacher, student, strict=True) for t, s in zip(ts, ss, strict=True)]
    return mean(kl(softmax(t), softmax(s)) for t, s in rows)


def middle(matrices: Sequence[Matrix]) -> Matrix:
    """The mean of several matrices of one size."""
    return [[mean(entries) for entries in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def mapped(mapping: Any, own: int, theirs: int, drawn: list[list[int]]) -> list[list[int]]:
    """The teacher layers of student layers 1, 2, ..."""
    every = range(1, own + 1)
    if isinstance(mapping, list):
        return [[layer] for layer in mapping]
    if mapping == "random":
        return drawn
    if mapping == "mean":
        block = theirs // own
        return [list(range((m - 1) * block + 1, m * block + 1)) for m in every]
    return [[{"uniform": m * theirs // own, "first": m, "last": m + theirs - own}[mapping]] for m in every]


def label_loss(kind: str, logits: Vector, label: float) -> float:
    return (logits[0] - label) ** 2 if kind == "regression" else -math.log(softmax(logits)[int(label)])


def task(case: Case) -> float:
    return case.over_examples(
        lambda s, t, y: mean(label_loss(case.kind, *pair) for pair in zip(s.logits, y, strict=True))
    )


def predictions(case: Case, compare: Callable[[Vector, Vector], float], temperature: float) -> float:
    """A loss between the distributions of teacher and student; their squared difference for regression."""

    def of_example(s: Example, t: Example, y: list[float]) -> float:
        if case.kind == "regression":
            return (s.logits[0][0] - t.logits[0][0]) ** 2
        return mean(
            compare(softmax(b, temperature), softmax(a, temperature)) for a, b in zip(s.logits, t.logits, strict=True)
        )

    return case.over_examples(of_example)


def logit_kd(case: Case) -> dict[str, float]:
    t = case.options["temperature"]
    factor = 1 if case.kind == "regression" else t**2
    return {"kd": factor * predictions(case, kl, t), "task": task(case)}


def dgkd(case: Case) -> dict[str, float]:
    t = case.options["temperature"]
    names = ["kd_T", *(f"kd_{i}" for i in range(1, len(case.teachers)))]
    each = [logit_kd(replace(case, teachers=[teacher], options={"temperature": t})) for teacher in case.teachers]
    return {"task": task(case), **{name: terms["kd"] for name, terms in zip(names, each, strict=True)}}


def matches(case: Case) -> dict[str, float]:
    """Of the matches of the settings: mean squared errors of hidden states of the student's width, by their layers."""

    def of_match(match: Mapping[str, Any]) -> float:
        m, g = (int(match[model][len("hidden[") : -1]) for model in ("student", "teacher"))
        return case.over_examples(lambda s, t, y: mse(s.hidden[m], t.hidden[g]))

    terms = {f"match_{i}": of_match(match) for i, match in enumerate(case.options["matches"], start=1)}
    return {**logit_kd(case), **terms}


def distilbert_finetune(case: Case) -> dict[str, float]:
    return logit_kd(case) if case.options["alpha"] else only_task(case)


def distilbert_general(case: Case) -> dict[str, float]:
    temperature = case.options["temperature"]

    def mlm_kd(s: Example, t: Example, y: list[float]) -> float:
        pairs = zip(s.logits, t.logits, strict=True)
        return temperature**2 * mean(kl(softmax(b, temperature), softmax(a, temperature)) for a, b in pairs)

    def mlm(s: Example, t: Example, y: list[float]) -> float:
        crossed = [label_loss("text", z, label) for z, label in zip(s.logits, y, strict=True) if label != -100]
        return mean(crossed) if crossed else 0.0

    def angle(s: Example, t: Example, y: list[float]) -> float:
        return mean(1 - cosine(a, b) for a, b in zip(s.hidden[-1], t.hidden[-1], strict=True))

    losses = {"mlm_kd": mlm_kd, "mlm": mlm, "cosine": angle}
    return {name: case.over_examples(loss) for name, loss in losses.items()}


def pkd(case: Case) -> dict[str, float]:
    def patience(s: Example, t: Example, y: list[float]) -> float:
        total = 0.0
        for m in range(1, s.layers):  # the last student layer is left out
            g = m * t.layers // s.layers if case.options["strategy"] == "skip" else m + t.layers - s.layers
            own, theirs = s.hidden[m][0], t.hidden[g][0]
            if case.options["normalize"]:
                own, theirs = unit(own), unit(theirs)
            total += sum((a - b) ** 2 for a, b in zip(own, theirs, strict=True))
        return total

    return {**logit_kd(case), "patience": case.over_examples(patience)}


def tinybert_intermediate(case: Case) -> dict[str, float]:
    def layers(s: Example, t: Example) -> Iterable[tuple[int, list[int]]]:
        return enumerate(mapped(case.options["mapping"], s.layers, t.layers, case.drawn), start=1)

    def attention(s: Example, t: Example, y: list[float]) -> float:
        return sum(attention_of_layer(s, t, m, sources) for m, sources in layers(s, t))

    def attention_of_layer(s: Example, t: Example, m: int, sources: list[int]) -> float:
        own = scores(s.queries[m], s.keys[m], s.heads)
        theirs = [scores(t.queries[g], t.keys[g], t.heads) for g in sources]
        kind = case.options["attention_loss"]
        if kind == "mse":
            return mean(mse(own[h], middle([a[h] for a in theirs])) for h in range(s.heads))
        compare = kl if kind == "kl" else lambda p, q: 1 - cosine(p, q)
        return mean(
            compare(middle([[softmax(a[h][q])] for a in theirs])[0], softmax(own[h][q]))
            for h in range(s.heads)
            for q in range(len(own[h]))
        )

    def hidden(s: Example, t: Example, y: list[float]) -> float:
        return sum(
            mse(mapped_tokens(s.hidden[m], f"hidden_{m}"), middle([t.hidden[g] for g in sources]))
            for m, sources in layers(s, t)
        )

    def embedding(s: Example, t: Example, y: list[float]) -> float:
        return mse(mapped_tokens(s.hidden[0], "embedding"), t.hidden[0])

    def mapped_tokens(tokens: Matrix, name: str) -> Matrix:
        shift = case.biases.get(name, [0.0] * len(case.maps[name]))
        return [[x + b for x, b in zip(row, shift, strict=True)] for row in project(tokens, case.maps[name])]

    losses = {"attention": attention, "hidden": hidden, "embedding": embedding}
    return {name: case.over_examples(loss) for name, loss in losses.items()}


def tinybert_prediction(case: Case) -> dict[str, float]:
    if case.kind == "regression" and case.options["regression_loss"] == "labels":
        return {"prediction": only_task(case)["task"]}
    return {"prediction": predictions(case, cross_entropy, case.options["temperature"])}


def minilm_distill(case: Case) -> dict[str, float]:
    s, t = case.student[0], case.teachers[0][0]
    layer = case.options["teacher_layer"] or t.layers
    if case.options["version"] == 1:
        heads, pairs = s.heads, {"attention": ("queries", "keys"), "value": ("values", "values")}
    else:
        widths = len(s.cls), len(t.cls)
        common = max(r for r in range(1, 49) if widths[0] % r == 0 and widths[1] % r == 0)
        heads = case.options["relation_heads"] or common
        pairs = {"qq": ("queries", "queries"), "kk": ("keys", "keys"), "vv": ("values", "values")}

    def relation(x: str, y: str) -> Callable[[Example, Example, list[float]], float]:
        return lambda s, t, _: relation_kl(
            scores(getattr(t, x)[layer], getattr(t, y)[layer], heads),
            scores(getattr(s, x)[s.layers], getattr(s, y)[s.layers], heads),
        )

    return {name: case.over_examples(relation(x, y)) for name, (x, y) in pairs.items()}


def only_task(case: Case) -> dict[str, float]:
    return {"task": task(case)}


def mlkd_stage1(case: Case) -> dict[str, float]:
    def emb(s: Example, t: Example, y: list[float]) -> float:
        return relation_kl(scores(t.hidden[0], t.hidden[0], 1), scores(s.hidden[0], s.hidden[0], 1))

    def mha(s: Example, t: Example, y: list[float]) -> float:
        pairs = [(s.context[m], t.context[m * t.layers // s.layers]) for m in range(1, s.layers + 1)]
        return sum(relation_kl(scores(b, b, s.heads), scores(a, a, s.heads)) for a, b in pairs)

    def ffn(s: Example, t: Example, y: list[float]) -> float:
        return sum(
            mse(project(s.hidden[m], case.maps[f"ffn_{m}"]), t.hidden[m * t.layers // s.layers])
            for m in range(1, s.layers + 1)
        )

    return {name: case.over_examples(loss) for name, loss in (("emb", emb), ("mha", mha), ("ffn", ffn))}


def mlkd_stage2(case: Case) -> dict[str, float]:
    own, theirs = [s.cls for s in case.student], [t.cls for t in case.teachers[0]]
    terms = {
        "ss": relation_kl(scores(theirs, theirs, 1), scores(own, own, 1)),
        "kd": predictions(case, kl, case.options["temperature"]),
    }
    if case.kind == "classification":
        views = own + own if case.options["views"] == "dropout" else project(own, case.maps["sc"]) + theirs
        classes = [label for (label,) in case.labels] * 2
        terms["sc"] = contrast([unit(v) for v in views], classes, case.options["contrast_temperature"])
    return terms


def contrast(vectors: Matrix, classes: list[float], temperature: float) -> float:
    """(1/2B) sum_i (1/|P(i)|) sum_{p in P(i)} -log(exp(v_i.v_p / t) / sum_{k != i} exp(v_i.v_k / t))."""
    everyone = range(len(vectors))
    total = 0.0
    for i in everyone:
        likeness = {k: math.exp(dot(vectors[i], vectors[k]) / temperature) for k in everyone if k != i}
        positives = [p for p in likeness if classes[p] == classes[i]]
        total += mean(-math.log(likeness[p] / math.fsum(likeness.values())) for p in positives)
    return total / len(vectors)


def mt_bert(case: Case) -> dict[str, float]:
    t = case.options["temperature"]

    def quotient(own: Vector, theirs: Vector, label: float) -> float:
        if case.kind == "regression":
            loss = (own[0] - theirs[0]) ** 2
        else:
            loss = cross_entropy(softmax(theirs, t), softmax(own, t))
        return loss / (1 + label_loss(case.kind, theirs, label)) if case.options["weighting"] else loss

    def distillation(s: Example, t: Example, y: list[float]) -> float:
        return mean(quotient(*each) for each in zip(s.logits, t.logits, y, strict=True))

    def hidden(teacher: int) -> Callable[[Example, Example, list[float]], float]:
        return lambda s, t, y: sum(
            mse(s.hidden[m], project(t.hidden[m * t.layers // s.layers], case.maps[f"teacher_{teacher}_layer_{m}"]))
            for m in range(1, s.layers + 1)
        )

    everyone = range(len(case.teachers))
    terms = {"distillation": sum(case.over_examples(distillation, i) for i in everyone), "task": task(case)}
    if case.options["hidden_loss"]:
        terms["hidden"] = sum(case.over_examples(hidden(i + 1), i) for i in everyone)
    return terms


TERMS: dict[tuple[str, str], Callable[[Case], dict[str, float]]] = {
    ("finetune", "finetune"): only_task,
    ("logit_kd", "distill"): logit_kd,
    ("takd", "distill"): logit_kd,
    ("dgkd", "distill"): dgkd,
    ("matches", "distill"): matches,
    ("pkd", "distill"): pkd,
    ("distilbert", "general"): distilbert_general,
    ("distilbert", "finetune"): distilbert_finetune,
    ("tinybert", "general"): tinybert_intermediate,
    ("tinybert", "intermediate"): tinybert_intermediate,
    ("tinybert", "prediction"): tinybert_prediction,
    ("minilm", "general"): minilm_distill,
    ("minilm", "distill"): minilm_distill,
    ("minilm", "finetune"): only_task,
    ("mlkd_bert", "stage1"): mlkd_stage1,
    ("mlkd_bert", "stage2"): mlkd_stage2,
    ("mlkd_bert", "one_stage"): lambda case: {**mlkd_stage1(case), **mlkd_stage2(case)},
    ("mt_bert", "distill"): mt_bert,
}
"""The terms of each stage of each method, by the names that the method gives them."""
