"""Stages whose method runs the student and the teachers itself, averages of weights, and initial weights."""

import pytest
import torch
from torch import nn

from harness.api.losses import task_loss
from harness.api.method import Method, Needs, Stage
from harness.execution import run_checkpoints
from harness.training import student_initialization
from harness.training.micro_batching import InsufficientMemory


class Live(Method):
    """Runs the student from perturbed embeddings, the teacher with gradients of its input, and the average."""

    name = "live"

    def stages(self):
        needs = Needs(student=["logits", "embeddings"])
        return [
            Stage("plain", Needs(student=["logits"], teachers=[["logits"]]), steps=2),
            Stage("live", needs, steps=4, live=True, average=0.5),
        ]

    def losses(self, step, batch, student, teachers):
        if step.stage.name == "plain":
            return {
                "task": task_loss(student.logits, batch),
                "far": (student.logits - teachers[0].logits).pow(2).mean(),
            }
        (teacher,) = step.teachers
        states = []

        def leaf(embeddings):
            states.append(embeddings.detach().requires_grad_())
            return states[0]

        logits = teacher.run(["logits"], patches={"embeddings": leaf}).logits
        (wanted,) = torch.autograd.grad(logits[:, 0].sum(), states)
        (given,) = torch.autograd.grad(student.logits[:, 0].sum(), student.embeddings, create_graph=True)
        size = given.norm(dim=-1).masked_fill(~batch.mask, 0).sum(-1) / batch.lengths
        target = wanted.norm(dim=-1).masked_fill(~batch.mask, 0).sum(-1) / batch.lengths
        noise = step.student.run(["logits"], patches={"embeddings": lambda states: states + 0.01}).logits
        average = step.average.run(["logits"]).logits
        return {
            "saliency": (size - target).pow(2).mean(),
            "noise": (noise - average).pow(2).mean(),
            "task": task_loss(student.logits, batch),
        }


def train(here, *runs, **settings):
    ended = list(here.cohort(*runs).train(stop=lambda: False, checkpoint=lambda run: None, **settings))
    assert [run.error for run in ended] == [None] * len(runs)


def state(run):
    weights = dict(run.student.state_dict())
    return weights | {f"average of {name}": tensor for name, tensor in run.trained.average.weights.items()}


def assert_equal(run, expected):
    for name, tensor in state(expected).items():
        assert torch.equal(state(run)[name], tensor), name
    assert run.history == expected.history


@pytest.fixture
def alone(world):
    here = world()
    run = here.run(Live)
    train(here, run)
    return here, run


def test_a_live_run_in_a_cohort_is_bit_identical_to_the_run_alone(alone):
    here, expected = alone
    run = here.run(Live)
    train(here, here.run("logit_kd"), here.run(Live, seed=2), run)
    assert_equal(run, expected)


def test_a_live_run_resumes_bit_identically_at_every_step(alone, tmp_path):
    here, expected = alone
    run, path = here.run(Live), tmp_path / "run.pt"
    while not run.ended:
        position = run.position

        def stop(run=run, position=position):
            return run.position > position

        list(here.cohort(run).train(stop=stop, checkpoint=lambda run: run_checkpoints.save(run, path)))
        if not run.ended:
            run = here.run(Live)
            assert run_checkpoints.restore(run, path)
    assert_equal(run, expected)


def test_the_teacher_runs_in_a_live_stage_only(world):
    here = world()

    class TooEarly(Live):
        def losses(self, step, batch, student, teachers):
            return {"task": task_loss(student.logits, batch) + step.teachers[0].run(["logits"]).logits.sum()}

    run = here.run(TooEarly)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert "stage 'plain' does not run its teachers; declare Stage('plain', live=True)" in run.error

    class NoAverage(Live):
        def losses(self, step, batch, student, teachers):
            return {"task": task_loss(step.average.run(["logits"]).logits, batch)}

    run = here.run(NoAverage)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert "stage 'plain' keeps no average; declare Stage('plain', average=0.999)" in run.error


def test_the_teacher_is_not_changed_and_gets_no_gradient(world):
    here = world()
    cohort = here.cohort(here.run(Live))
    before = {name: tensor.clone() for name, tensor in cohort.teachers["base"].model.state_dict().items()}
    list(cohort.train(stop=lambda: False, checkpoint=lambda run: None))
    teacher = cohort.teachers["base"].model
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_average_follows_the_weights(world):
    here = world(batching="random")

    seen = []

    class Watched(Live):
        def losses(self, step, batch, student, teachers):
            if step.stage.name == "live":
                models = (step.student, step.average)
                seen.append([model.parameters["classifier.bias"].detach().clone() for model in models])
            return super().losses(step, batch, student, teachers)

    run = here.run(Watched)
    train(here, run)
    weights = [weight for weight, _ in seen] + [run.student.classifier.bias.detach()]
    expected = weights[0]
    for (_, average), weight in zip(seen, weights[1:], strict=True):
        torch.testing.assert_close(average, expected)
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(run.trained.average.weights["classifier.bias"], expected)
    assert not torch.equal(expected, weights[-1])


def test_an_out_of_memory_error_in_a_live_stage_repeats_the_step_in_smaller_parts(world):
    here = world(batching="random")

    class Eval(Live):
        """Without dropout, so that parts of a batch give the sum of their gradients."""

        most = 99

        def losses(self, step, batch, student, teachers):
            if len(batch.ids) > self.most:
                raise torch.OutOfMemoryError("too large")
            return super().losses(step, batch, student, teachers)

    class Small(Eval):
        most = 3

    def trained(method):
        run = here.run(method)
        for module in run.student.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        train(here, run)
        return run

    whole, parts = trained(Eval), trained(Small)
    assert parts.gradients.micro_batch_size == 2
    for name, tensor in whole.student.state_dict().items():
        torch.testing.assert_close(parts.student.state_dict()[name], tensor, atol=2e-4, rtol=1e-3)


def test_a_live_stage_that_does_not_fit_fails_alone(world):
    here = world()

    class Huge(Live):
        def losses(self, step, batch, student, teachers):
            raise InsufficientMemory("never fits")

    run = here.run(Huge)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert "memory does not suffice" in run.error


@pytest.mark.parametrize("precision", ["bf16"])
def test_a_live_stage_in_half_precision(world, precision):
    here = world(precision=precision)
    run = here.run(Live)
    train(here, run)
    assert all(tensor.isfinite().all() for tensor in run.student.state_dict().values())


@pytest.mark.parametrize("average", [0, 1, -0.1, float("nan"), True])
def test_the_decay_of_an_average_is_between_0_and_1(average):
    with pytest.raises(ValueError, match=r"stage 'only': average is .*; it must be above 0 and below 1"):
        Stage("only", Needs(student=["logits"]), average=average)


class Copies(Method):
    """Starts from the teacher's classifier, with noise."""

    name = "copies"

    def initialize(self, student, teachers):
        with torch.no_grad():
            student.classifier.bias.copy_(teachers[0].classifier.bias + torch.rand(2))

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


def initialized(here, method, seed):
    run, teacher = here.run(method, seed=seed), here.teacher()
    student_initialization.initialize(run.method, run.student, [teacher])
    return run.student.classifier.bias.detach() - teacher.classifier.bias.detach()


def test_a_method_gives_initial_weights_under_the_seed_of_the_run(world):
    here = world()
    before = torch.get_rng_state()
    first, again, other = (initialized(here, Copies, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert student_initialization.changes_weights(here.run(Copies).method)
    assert not student_initialization.changes_weights(here.run(Live).method)


def test_initial_weights_must_not_change_a_teacher(world):
    class Meddles(Copies):
        def initialize(self, student, teachers):
            nn.init.zeros_(teachers[0].classifier.bias)

    with pytest.raises(TypeError, match="changed a teacher in place"):
        initialized(world(), Meddles, 1)
