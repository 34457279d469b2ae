"""Mistakes of public distillation code in training: teacher mode, losses, batches, clipping, padding, attention.

Each test shows that the harness does not make the mistake. Its docstring names the code and the symptom."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig

from harness import Method, Needs, Stage, layers
from harness.api.errors import UserError
from harness.api.losses import projection, task_loss
from harness.config.training_schema import TrainingSpec
from harness.models import heads
from harness.models.capture import Capture
from harness.tasks.batching import epoch_batches
from harness.testing import loss_terms, tiny_batch, tiny_model
from harness.training.cohort import Cohort
from harness.training.teacher import Teacher
from tests.support.training_world import CPU, World

KINDS = ["classification", "regression", "qa"]


@pytest.fixture
def world():
    def make(kind="classification", **training):
        return World(kind, TrainingSpec(**{"epochs": 2, "batch_size": 8, "lr": 1e-3, **training}))

    return make


def train(cohort):
    list(cohort.train(stop=lambda: False, checkpoint=lambda run: None))
    assert [run.error for run in cohort.runs] == [None] * len(cohort.runs)


class Recorder(Method):
    """Trains on the labels, and records each batch with the teacher's logits in `recorded`."""

    name = "recorder"

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]

    def modules(self, student, teachers):
        self.recorded = []
        return super().modules(student, teachers)

    def losses(self, step, batch, student, teachers):
        self.recorded.append(SimpleNamespace(batch=batch, teacher=teachers[0].logits.clone()))
        return {"task": task_loss(student.logits, batch)}


def test_the_teacher_is_not_left_in_training_mode(world):
    """TinyBERT's task script and torchdistill leave the teacher's dropout on: the targets then differ from the
    outputs of a forward pass in eval mode."""
    setup = world(epochs=1)
    model = setup.teacher().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    run = setup.run(Recorder)
    reference = copy.deepcopy(model).eval()
    train(Cohort(setup.stream(), {"base": Teacher("base", model, "tokenizer", CPU)}, [run], CPU))
    assert len(run.method.recorded) == run.steps
    for record in run.method.recorded:
        with torch.no_grad():
            torch.testing.assert_close(record.teacher, reference(**record.batch.inputs).logits)


def test_the_loss_has_the_hard_labels_and_the_square_of_the_temperature(world):
    """torchdistill's GLUE scripts train on a KL divergence without labels and T^2, but the paper's loss has both.
    This test computes the loss of the first step from the logits of both models."""
    setup = world(epochs=1, batch_size=64, log_every=1)
    run, teacher = setup.run("logit_kd", config={"temperature": 4.0, "alpha": 0.3}), setup.teacher()
    for module in run.student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():  # confident predictions that differ
        run.student.classifier.weight.mul_(30)
        teacher.classifier.weight.mul_(-90)
    batch = setup.stream().at(0, CPU).whole("tokenizer")
    with torch.no_grad():
        z_s, z_t = (m.eval()(**batch.inputs).logits.double().log_softmax(-1) for m in (run.student, teacher))
    train(Cohort(setup.stream(), {"base": Teacher("base", teacher, "tokenizer", CPU)}, [run], CPU))
    kd = task = 0.0
    for s, t, label in zip(z_s.tolist(), z_t.tolist(), batch.labels.tolist(), strict=True):
        p, q = ([math.exp(x / 4) for x in z] for z in (t, s))
        kd += 16 * sum(a / sum(p) * math.log(a / sum(p) * sum(q) / b) for a, b in zip(p, q, strict=True)) / len(z_s)
        task -= s[label] / len(z_s)
    assert min(kd, task) > 0.01
    assert run.history[0].terms["loss"] == pytest.approx(0.3 * kd + 0.7 * task, rel=1e-4)
    assert 0 < setup.methods["logit_kd"].Config().alpha < 1, "by default, both terms count"


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_batch_of_an_epoch_is_not_dropped(world, kind):
    """TinyBERT's task script drops the last, partial batch, also in evaluation, so that examples are never used."""
    setup = world(kind, epochs=2)
    run = setup.run(Recorder)
    train(setup.cohort(run))
    rows = setup.data.train.ids
    assert len(rows) % setup.training.batch_size, "the last batch is partial"
    half = len(run.method.recorded) // 2
    for epoch in (run.method.recorded[:half], run.method.recorded[half:]):
        assert sorted(i for record in epoch for i in record.batch.ids) == sorted(rows)
    assert sorted(map(len, epoch_batches([3] * 11, 4, seed=1, epoch=0))) == [3, 4, 4]


SOFT = {
    "logit_kd": ("kd", None, {}),
    "pkd": ("kd", None, {}),
    "tinybert": ("prediction", "prediction", {}),
    "mlkd_bert": ("kd", "stage2", {}),
    "mt_bert": ("distillation", None, {"weighting": False}),
}
"""method -> its loss term on the teacher's predictions, the stage of the term, and options that switch off labels."""


@pytest.mark.parametrize("method", SOFT)
def test_regression_learns_from_the_teacher_and_not_from_the_labels(method):
    """TinyBERT's task script trains STS-B's student on the labels in the stage that should learn from the teacher: its
    loss term depends on the labels, not on the teacher."""
    term, stage, config = SOFT[method]
    batch = tiny_batch("regression")
    student, *teachers = (tiny_model(kind="regression", layers=2, seed=seed) for seed in (1, 2, 1))

    def value(teacher, batch):
        inputs = {"student": student, "teachers": [teacher], "stage": stage, "config": config}
        return loss_terms(method, **inputs, batch=batch)[term]

    shifted = {**batch, "labels": batch["labels"] + 9}
    assert value(teachers[0], batch) == value(teachers[0], shifted) > 0
    assert value(teachers[1], shifted) == 0, "student and teacher agree, whatever the labels are"


class LargeProjectionGradient(Method):
    """A loss with almost all of its gradient in the projection, whose inputs are large."""

    name = "large_projection_gradient"

    def stages(self):
        return [Stage("only", Needs(student=["logits", "hidden[2]"], teachers=[["hidden[4]"]]))]

    def modules(self, student, teachers):
        return torch.nn.ModuleDict({"map": projection(student.hidden, teachers[0].hidden)})

    def losses(self, step, batch, student, teachers):
        mapped = step.modules["map"](100 * student.hidden[2].detach()) - teachers[0].hidden[4]
        return {"task": task_loss(student.logits, batch), "far": mapped.square().mean()}


def test_projections_are_clipped_with_the_student(world):
    """TextBrewer clips the student's gradient, but not that of its projections: at the optimizer step the norm
    over both exceeds the limit."""
    setup = world(max_grad_norm=0.5)
    run = setup.run(LargeProjectionGradient)
    norms = []

    def watch(optimizer, args, kwargs):
        parts = {name: part.parameters() for name, part in (("student", run.student), ("maps", run.modules))}
        norms.append(
            {
                name: math.hypot(*(float(p.grad.norm()) for p in part if p.grad is not None))
                for name, part in parts.items()
            }
        )

    run.trained.optimizer.register_step_pre_hook(watch)
    before = run.modules["map"].weight.clone()
    train(setup.cohort(run))
    assert len(norms) == run.steps
    for norm in norms:
        assert math.hypot(*norm.values()) == pytest.approx(0.5, rel=1e-3)
        assert norm["maps"] > 0.4
    assert not torch.equal(run.modules["map"].weight, before), "the projections are trained"


@pytest.mark.parametrize("method", ["logit_kd", "pkd", "tinybert", "minilm", "mlkd_bert", "mt_bert"])
def test_the_teacher_is_not_trained(world, method):
    """TextBrewer wraps the frozen teacher for distributed training like the student. Here no parameter of the teacher
    requires or gets a gradient, is in an optimizer, or changes."""
    setup = world(epochs=1)
    model = setup.teacher()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = setup.run(method)
    cohort = Cohort(setup.stream(), {"base": Teacher("base", model, "tokenizer", CPU)}, [run], CPU)
    train(cohort)
    assert cohort.teachers["base"].model is model, "not wrapped"
    optimized = {id(p) for group in run.trained.optimizer.param_groups for p in group["params"]}
    for parameter in model.parameters():
        assert (parameter.requires_grad, parameter.grad, id(parameter) in optimized) == (False, None, False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


OVER_TOKENS = [
    ("tinybert", {}),
    ("tinybert", {"attention_loss": "kl"}),
    ("minilm", {}),
    ("minilm", {"version": 2}),
    ("mlkd_bert", {"one_stage": True}),
    ("mt_bert", {}),
]


@pytest.mark.parametrize(("method", "config"), OVER_TOKENS)
def test_no_loss_is_averaged_over_padding(method, config):
    """TinyBERT's MSE includes padding tokens: their ids then change the loss, and their embeddings get a gradient."""
    batch = tiny_batch("classification", batch=3, length=14, seed=4)
    padding = batch["attention_mask"] == 0
    assert padding.any()
    unused = 50
    batch["input_ids"] = torch.where(batch["input_ids"] == unused, 49, batch["input_ids"])
    changed = {**batch, "input_ids": batch["input_ids"].masked_fill(padding, unused)}
    student, teacher = tiny_model(layers=2, seed=1).double(), tiny_model(layers=4, seed=2).double()

    def terms(batch):
        return loss_terms(method, student=student, teachers=[teacher], batch=batch, config=config)

    expected, actual = terms(batch), terms(changed)
    for name, term in actual.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-9), name
        student.zero_grad()
        term.backward(retain_graph=True)
        assert not student.base_model.embeddings.word_embeddings.weight.grad[unused].any(), name


def test_attention_scores_under_the_fused_kernel_are_correct_or_an_error():
    """With SDPA in transformers 5, `output_attentions=True` returns an empty tuple without a warning, and a loss
    over no layers is zero. Capture gives the scores of eager attention, or raises an error if it cannot."""
    model = tiny_model(layers=2, seed=1).double()
    assert model.config._attn_implementation == "sdpa"
    inputs = {k: v for k, v in tiny_batch("classification").items() if k != "labels"}
    needs = layers("scores", [1, 2])
    scores = Capture(model).run(inputs, needs).scores
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    attentions = eager(**inputs, output_attentions=True).attentions
    outside = inputs["attention_mask"][:, None, None] == 0
    assert sorted(scores) == [1, 2]
    for m, attention in enumerate(attentions, start=1):
        torch.testing.assert_close(scores[m].masked_fill(outside, -math.inf).softmax(-1), attention)
        assert scores[m].requires_grad
    unsupported = AutoConfig.for_model(
        "mpnet",
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    task = SimpleNamespace(kind="classification", labels=("no", "yes"), num_labels=2, label_scale=None)
    with pytest.raises(UserError, match=r"scores.* cannot be captured from"):
        Capture(heads.from_config(unsupported, task, seed=1)).run(inputs, needs)
