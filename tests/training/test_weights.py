"""Each method minimizes the weighted sum of terms that its README documents, in every stage."""

import inspect
from pathlib import Path

import pytest
import torch

from harness.plugin_host.host import Host
from harness.training.cohort import Cohort
from harness.training.teacher import Teacher
from tests.support.training_world import CPU

OPTIONS = {
    "finetune": {},
    "logit_kd": {"alpha": 0.3},
    "pkd": {"alpha": 0.3, "beta": 20.0, "beta_scale": "paper"},
    "distilbert": {"alpha": 0.3},
    "tinybert": {"attention_weight": 3.0, "representation_weight": 0.25},
    "minilm": {"version": 2},
    "mlkd_bert": {"temperature": 2.0},
    "mt_bert": {"temperature": 2.0},
    "dist": {"beta": 3.0, "gamma": 0.25},
    "ckd": {"wr_pair_weight": 3.0, "wr_angle_weight": 0.5, "ltr_pair_weight": 2.0, "ltr_angle_weight": 4.0},
    "alp_kd": {"task_weight": 0.5, "kd_weight": 2.0, "alp_weight": 3.0},
    "avg_mt": {"alpha": 0.3},
    "dynamic_kd": {"part": "objective", "kd_weight": 0.5, "rep_weight": 30.0},
    "annealing_kd": {},
    "codir": {"beta": 0.3, "crd_weight": 2.0},
    "glmd": {},
    "sid": {"attention_weight": 3.0, "cls_weight": 2.0},
}
"""For every method, options with which its weights differ from each other and from 1."""

WEIGHTS = {
    ("finetune", "finetune"): {"task": 1},
    ("logit_kd", "distill"): {"kd": 0.3, "task": 0.7},
    ("pkd", "distill"): {"kd": 0.3, "task": 0.7, "patience": 20},
    ("distilbert", "finetune"): {"kd": 0.3, "task": 0.7},
    ("tinybert", "intermediate"): {"attention": 3, "hidden": 0.25, "embedding": 0.25},
    ("tinybert", "prediction"): {"prediction": 1},
    ("minilm", "distill"): {"qq": 1, "kk": 1, "vv": 1},
    ("minilm", "finetune"): {"task": 1},
    ("mlkd_bert", "stage1"): {"emb": 1, "mha": 1, "ffn": 1},
    ("mlkd_bert", "stage2"): {"ss": 1, "sc": 1, "kd": 1},
    ("mt_bert", "distill"): {"hidden": 1, "distillation": 1, "task": 1},
    ("dist", "distill"): {"task": 1, "inter": 3, "intra": 0.25},
    ("ckd", "distill"): {"kd": 0.9, "task": 0.1, "wr_pair": 3, "wr_angle": 0.5, "ltr_pair": 2, "ltr_angle": 4},
    ("alp_kd", "distill"): {"task": 0.5, "kd": 2, "alp": 3},
    ("avg_mt", "distill"): {"kd": 0.3, "task": 0.7},
    ("dynamic_kd", "objective"): {"task": 1, "kd": 0.5, "rep": 30},
    ("annealing_kd", "anneal"): {"anneal": 1},
    ("annealing_kd", "labels"): {"task": 1},
    ("codir", "distill"): {"kd": 0.3, "task": 0.7, "crd": 2},
    ("glmd", "prediction"): {"kd": 1},
    ("sid", "internal"): {"attention": 3, "cls": 2},
    ("sid", "kd"): {"kd": 1},
}
"""The expected weights by method and stage, with those options."""

LOGGED = {"uncertainty", "phi"}
"""Values that methods log in addition to their terms."""


def sharpened(model):
    """The model with larger weights, so that every term is large enough to show in the sum."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(10)
    return model


def weights_are_tested_in_its_folder(method):
    tests = Path(inspect.getfile(method)).parent.glob("test_*.py")
    return any("weights" in path.read_text(encoding="utf-8") for path in tests)


def test_every_method_is_covered():
    methods = Host.create().methods
    assert OPTIONS.keys() <= methods.keys()
    assert [name for name in methods.keys() - OPTIONS if not weights_are_tested_in_its_folder(methods[name])] == []


@pytest.mark.parametrize("method", OPTIONS)
def test_the_total_is_the_sum_of_the_terms_by_their_weights(world, method):
    here = world(epochs=1)
    run = here.run(method, config=OPTIONS[method])
    sharpened(run.student)
    teacher = Teacher("base", sharpened(here.teacher()), "tokenizer", CPU)
    list(Cohort(here.stream(), {"base": teacher}, [run], CPU).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert {(method, point.stage) for point in run.history} == {place for place in WEIGHTS if place[0] == method}
    for point in run.history:
        weights = WEIGHTS[method, point.stage]
        assert point.terms.keys() - LOGGED == {"loss", *weights}
        parts = {name: weight * point.terms[name] for name, weight in weights.items()}
        assert min(parts.values()) > 1e-3 * sum(parts.values()), f"{point.stage}: a term is too small to be seen"
        assert point.terms["loss"] == pytest.approx(sum(parts.values()), rel=1e-5)
