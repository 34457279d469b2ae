"""Every installed method trains students of every family on every kind of task."""

import math
import os
from itertools import groupby

import pytest
import torch

from harness.plugin_host.host import Host

KINDS = ["classification", "regression", "qa", "multilabel", "token_classification"]


CASES = [(method, KINDS[number % 3]) for number, method in enumerate(sorted(Host.create().methods))]
CASES += [("temporal_ensembling", "classification")]
CASES += [(method, kind) for method in ("logit_kd", "mt_bert") for kind in KINDS if (method, kind) not in CASES]
"""Each method on one kind, two methods on all: the conformance checks train every method on every kind."""


LOSSES_THAT_MOVE = {"codir", "continuation_kd", "rl_kd", "sid", "temporal_ensembling"}
"""Methods whose losses change with the step (rl_kd: student and policy in turn): their totals need not fall."""

FROZEN_HEAD = {"theseus"}


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_method_trains_all_of_a_student(world, method, kind):
    here = world(kind, epochs=24, batch_size=64, batching="random", log_every=1)  # the whole data set at every step
    run = here.run(method)
    if not here.supports(run):
        pytest.skip(f"{method} does not take {kind} with these models")
    before = {name: tensor.clone() for name, tensor in run.student.state_dict().items()}
    for _ in here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None):
        pass
    assert run.error is None
    for stage, group in groupby(run.history, key=lambda point: point.stage):
        totals = [point.terms["loss"] for point in group]
        third = len(totals) // 3
        assert all(map(math.isfinite, totals))
        if method not in LOSSES_THAT_MOVE:
            assert sum(totals[-third:]) < sum(totals[:third]), f"{stage} learns nothing: {totals}"
    after = run.student.state_dict()
    heads = [name for name in after if name.startswith(("classifier", "qa_outputs"))]
    assert heads
    trained = [] if method in FROZEN_HEAD else [*heads, "bert.embeddings.word_embeddings.weight"]
    for name in [*trained, "bert.encoder.layer.1.output.dense.weight"]:
        assert not torch.equal(after[name], before[name]), f"{name} is not trained"


FAMILIES = [("roberta", "distilbert", "qa")]
"""The formulas of other pairs are compared in `tests/reference/test_terms.py`."""

if "HARNESS_NIGHTLY" in os.environ:  # set nightly
    FAMILIES += [
        ("roberta", "electra", "classification"),
        ("bert", "distilbert", "qa"),
        ("roberta", "roberta", "qa"),
        ("distilbert", "distilbert", "classification"),
        ("electra", "electra", "token_classification"),
    ]


@pytest.mark.parametrize(("teacher", "student", "kind"), FAMILIES)
def test_every_method_trains_students_of_other_families(world, teacher, student, kind):
    here = world(kind, teacher=teacher, student=student, batching="random")
    runs = [run for run in map(here.run, sorted(here.methods)) if here.supports(run)]
    before = [weight_of_last_layer(run).clone() for run in runs]
    for _ in here.cohort(*runs).train(stop=lambda: False, checkpoint=lambda run: None):
        pass
    assert [run.error for run in runs] == [None] * len(runs)
    for run, weight in zip(runs, before, strict=True):
        assert all(math.isfinite(value) for point in run.history for value in point.terms.values())
        assert not torch.equal(weight_of_last_layer(run), weight), f"{run.id} has learnt nothing"


def weight_of_last_layer(run):
    """The last matrix of the encoder: it changes only if gradients of the losses reach it."""
    return [parameter for parameter in run.student.base_model.parameters() if parameter.ndim == 2][-1]
