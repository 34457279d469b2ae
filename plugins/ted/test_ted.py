"""The terms of ted against loops over the formulas in every stage; what each stage trains, and weights."""

import math

import pytest
import torch

from harness.api.batch import IGNORED
from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, label_loss, logit_kd, mapped, mean, middle, mse, project, task
from tests.reference.odd_batches import in_other_types, one_example, one_token
from tests.reference.settings import Setting, batch_of

METHOD = Host.create().methods["ted"]
KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
WIDER = ({"hidden": 24, "heads": 2},)


def linear(case: Case, name: str, tokens):
    """The tokens [n][width] through a linear layer with bias."""
    return [[x + b for x, b in zip(row, case.biases[name], strict=True)] for row in project(tokens, case.maps[name])]


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def pairs(case: Case, s, t):
    """Each layer of the student, its tokens, and those of its teacher layers."""
    sources = mapped(case.options["mapping"], s.layers, t.layers, case.drawn)
    return [(m, s.hidden[m], middle([t.hidden[g] for g in sources[m - 1]])) for m in range(1, s.layers + 1)]


def predictions(case: Case, model: str, m: int, tokens, places):
    """The distributions that a head predicts. `places`: the tokens with labels, for QA those that may be answers."""
    filtered = linear(case, f"{model}_filter_{m}", tokens)
    if case.kind in ("qa", "token_classification"):
        by_place = linear(case, f"{model}_head_{m}", [filtered[place] for place in places])
        return [list(column) for column in zip(*by_place, strict=True)] if case.kind == "qa" else by_place
    pooled = [[gelu(x) for x in linear(case, f"{model}_pooler_{m}", filtered[:1])[0]]]
    (logits,) = linear(case, f"{model}_head_{m}", pooled)
    return [[z, 0.0] for z in logits] if case.kind == "multilabel" else [logits]


def places_of(batch, kind):
    """The places of each example that `predictions` reads; none on kinds with one prediction for a text."""
    if kind == "qa":
        return [[n for n, allowed in enumerate(row) if allowed] for row in batch["answer_mask"].tolist()]
    if kind == "token_classification":
        labels = batch["labels"].reshape(batch["input_ids"].shape).tolist()
        return [[n for n, label in enumerate(row) if label != IGNORED] for row in labels]
    return [[] for _ in batch["input_ids"]]


def filters(batch):
    def oracle(case: Case) -> dict[str, float]:
        def of(model: str) -> float:
            losses = []
            for s, t, y, places in zip(
                case.student, case.teachers[0], case.labels, places_of(batch, case.kind), strict=True
            ):
                by_layer = []
                for m, own, theirs in pairs(case, s, t):
                    logits = predictions(case, model, m, own if model == "student" else theirs, places)
                    by_layer.append(mean(label_loss(case.kind, z, label) for z, label in zip(logits, y, strict=True)))
                losses.append(mean(by_layer))
            return mean(losses)

        return {f"{model}_filters": of(model) for model in ("student", "teacher")}

    return oracle


def distill(case: Case) -> dict[str, float]:
    def filtered(s, t, y) -> float:
        return mean(
            mse(linear(case, f"student_filter_{m}", own), linear(case, f"teacher_filter_{m}", theirs))
            for m, own, theirs in pairs(case, s, t)
        )

    return {**logit_kd(case), "filtered": case.over_examples(filtered)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [{}, {"mapping": "mean"}, {"mapping": "last", "temperature": 3.0}], ids=str)
def test_the_terms_are_the_formulas(config, kind):
    batch = batch_of(kind)
    assert_terms_equal(Setting("ted", "filters", config, teachers=WIDER), kind, filters(batch))
    assert_terms_equal(Setting("ted", "distill", config, teachers=WIDER), kind, distill)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_stage_has_the_labels_alone(kind):
    assert_terms_equal(Setting("ted", "finetune"), kind, lambda case: {"task": task(case)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", [one_example, one_token])
def test_odd_batches(odd, kind):
    batch = odd(kind)
    assert_terms_equal(Setting("ted", "filters"), kind, filters(batch), batch=batch)
    assert_terms_equal(Setting("ted", "distill"), kind, distill, batch=batch)


def test_a_mask_of_integers_is_a_mask():
    batch = in_other_types("qa")
    assert_terms_equal(Setting("ted", "filters"), "qa", filters(batch), batch=batch)


def copies(run):
    parts = {"student": run.student, "modules": run.modules}
    return {f"{part}.{name}": p.detach().clone() for part, each in parts.items() for name, p in each.named_parameters()}


def changed_in(here, run, stage):
    """The parameters that a stage changes; the run has been trained up to it."""
    before, end = copies(run), sum(run.progress.lengths[: stage + 1])
    list(here.cohort(run).train(stop=lambda: run.position == end, checkpoint=lambda run: None))
    assert run.error is None
    return {name for name, after in copies(run).items() if not torch.equal(after, before[name])}


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_each_stage_trains_its_part(world, kind):
    """Filters and heads in stage I; the student with its filters, and not the teacher's, in stage II. Weight decay
    would show in a parameter without a gradient."""
    here = world(kind, weight_decay=0.5, epochs=3)
    run = here.run("ted")
    everything = copies(run).keys()
    student = {name for name in everything if name.startswith("student.")}
    modules = everything - student
    assert changed_in(here, run, 0) == student
    assert changed_in(here, run, 1) == modules
    assert changed_in(here, run, 2) == student | {name for name in modules if ".student_filter_" in name}


def test_filters_start_as_the_weights_of_the_encoders_do():
    """The weight of `filtered` depends on their scale."""
    shapes = [ModelShape(name, 2, width, 4, 64) for name, width in (("small", 64), ("base", 256))]
    method = bound(*shapes)
    torch.manual_seed(1)
    modules = method.modules(*shapes[:1], shapes[1:])
    assert {name: tuple(module.weight.shape) for name, module in modules.items() if name.endswith("1")} == {
        "teacher_filter_1": (256, 256),
        "teacher_pooler_1": (256, 256),
        "teacher_head_1": (3, 256),
        "student_filter_1": (256, 64),
        "student_pooler_1": (256, 256),
        "student_head_1": (3, 256),
    }
    for module in modules.values():
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not module.bias.any()


def bound(student=None, teacher=None, kind="classification", **config):
    student, teacher = (student or ModelShape("small", 6, 64, 4, 128)), (teacher or ModelShape("base", 12, 64, 4, 128))
    return METHOD(METHOD.Config(**config), task=TaskInfo("t", kind, 3), student=student, teachers=[teacher], seed=1)


def test_weights_are_those_of_the_scripts_for_qnli_and_mrpc():
    assert bound().weights(None) == {"kd": 20, "filtered": 100}
    assert bound(kd_weight=5, filtered_weight=7500).weights(None) == {"kd": 5, "filtered": 7500}


def test_stage_one_starts_from_the_best_student_and_freezes_it():
    finetune, filters, distill = bound().stages()
    assert filters.starts_from == "best"
    assert filters.frozen == {"embeddings", "head", *(f"layer[{m}]" for m in range(1, 7))}
    assert (finetune.frozen, distill.frozen) == (frozenset(), frozenset())
    assert finetune.needs.teachers == ()
    assert {stage.share for stage in (finetune, filters, distill)} == {1}


def test_the_record_names_the_layers():
    assert bound().notes() == {"layer_map": [[2], [4], [6], [8], [10], [12]]}
    assert bound(mapping="last").stages()[1].needs.teachers == ({f"hidden[{m}]" for m in range(7, 13)},)


def test_models_that_do_not_fit_are_an_error():
    student, teacher = tiny_model(layers=3), tiny_model(layers=4)
    with pytest.raises(UserError, match="the student has 3 layers, the teacher 4"):
        loss_terms(METHOD, student=student, teachers=[teacher], batch=tiny_batch("classification"))
