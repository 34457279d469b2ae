"""The terms of glmd against plain loops over float64 numbers, the loss in parts, and its options."""

import pytest
import torch
from harness_plugins.glmd import vocabulary
from pydantic import ValidationError

from harness.api.batch import NOT_MASKED
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference.comparison import evaluate
from tests.reference.formulas import kl, mean, predictions, softmax
from tests.reference.settings import batch_of, copied, model

METHOD = Host.create().methods["glmd"]
TOLERANCE = {"rel": 1e-9, "abs": 1e-12}


def of_token(student, teacher, options):
    kept = sorted(range(len(teacher)), key=lambda v: -teacher[v])[: options["top_n"]]
    z, w = ([logits[v] for v in kept] for logits in (student, teacher))
    if options["lm_loss"] == "mse":
        return mean((a - b) ** 2 for a, b in zip(z, w, strict=True))
    t = options["lm_temperature"]
    return t**2 * kl(softmax(w, t), softmax(z, t))


@pytest.mark.parametrize(
    "config",
    [{}, {"lm_temperature": 2.0, "top_n": 5}, {"lm_loss": "mse"}, {"positions": "masked", "masking": 0.2}],
)
def test_the_text_stage_is_what_the_formula_says(config):
    student, teacher, batch = model("text", "student"), model("text", "teacher", hidden=24), batch_of("text")
    terms, case = evaluate("glmd", "text", student, [teacher], batch, config=config)

    def of_example(s, t, labels):
        compared = [n for n, y in enumerate(labels) if y != NOT_MASKED or case.options["positions"] == "all"]
        return mean(of_token(s.logits[n], t.logits[n], case.options) for n in compared)

    assert terms == pytest.approx({"lm_kd": case.over_examples(of_example)}, **TOLERANCE)
    assert terms["lm_kd"] > 1e-6


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification", "qa"])
def test_the_task_is_learned_from_the_teacher_alone(kind):
    student, teacher = model(kind, "student"), model(kind, "teacher")
    for temperature in (1.0, 3.0):
        terms, case = evaluate("glmd", kind, student, [teacher], batch_of(kind), config={"temperature": temperature})
        factor = 1 if kind == "regression" else temperature**2
        assert terms == pytest.approx({"kd": factor * predictions(case, kl, temperature)}, **TOLERANCE)


@pytest.mark.parametrize("config", [{}, {"top_n": 7}, {"lm_loss": "mse"}])
def test_the_loss_in_parts_is_the_loss_of_the_whole(config, monkeypatch):
    results = []
    for most in (2**25, 64 * 5, 1):  # all tokens, 5, one
        monkeypatch.setattr(vocabulary, "MAX_NUMBERS", most)
        student = copied(model("text", "student")).double()
        inputs = {"student": student, "teachers": [model("text", "teacher")], "batch": batch_of("text")}
        loss = loss_terms("glmd", **inputs, config=config)["lm_kd"]
        loss.backward()
        weight = student.bert.encoder.layer[0].output.dense.weight
        results.append((loss.item(), weight.grad))
    for value, gradient in results[1:]:
        assert value == results[0][0]
        assert torch.allclose(gradient, results[0][1], rtol=1e-10, atol=0)
        assert gradient.any()


def test_intermediate_results_are_not_kept_for_backward(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_NUMBERS", 50 * 4)
    student, teacher = torch.randn(3, 8, 50, requires_grad=True), torch.randn(3, 8, 50)
    given = {tensor.untyped_storage().data_ptr() for tensor in (student, teacher)}
    kept: list[torch.Tensor] = []

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in given:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vocabulary.by_token(vocabulary.token_loss("kl", 2.0, None), student, teacher).sum()
    assert sum(tensor.numel() for tensor in kept) < 50


def bound_method(**config):
    shapes = [ModelShape(name, layers, 768, 12, 3072) for name, layers in (("small", 6), ("base", 12))]
    task = TaskInfo("sst2", "classification", 2)
    return METHOD(METHOD.Config(**config), task=task, student=shapes[0], teachers=shapes[1:], seed=1)


def test_options_of_the_text_stage_are_those_of_its_key():
    general = bound_method(masking=0.15, top_n=8).general()
    assert general.masking == 0.15
    assert general.options == {
        "lm_temperature": 15.0,
        "lm_loss": "kl",
        "positions": "all",
        "top_n": 8,
        "masking": 0.15,
    }
    assert METHOD.Config.keyed_separately == general.options.keys()
    assert bound_method().general().masking == 0


def test_masked_positions_need_masking():
    with pytest.raises(ValidationError, match="masking is 0, so that no token is; set masking"):
        METHOD.Config(positions="masked")
