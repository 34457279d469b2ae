"""Students that share passes: on a CPU, the bits are those of students that take their steps one after another."""

import math

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from harness.execution import run_checkpoints
from harness.models import stack_check, stacked_functions
from harness.models.stacked_students import StackedStudents
from harness.training import run_stack
from harness.training.fused_execution import FusedExecution
from harness.training.optimizer import allocate_moments
from harness.training.run import Run
from harness.training.run_stack import RunStack
from tests.support.training_world import assert_same, bits, train
from tests.training.test_cohort import BecomesNaN, FailsAtStep, Meddles

SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore of it"
SMALL = {"epochs": 0.7, "batch_size": 8, "batching": "random"}
"""Four steps."""


@pytest.fixture
def stacks(monkeypatch):
    """The keys of the runs of each stack that takes a step, and of those that then take it alone."""
    steps, step = [], RunStack.step

    def recorded(stack, *arguments):
        steps.append(([run.id.key for run in stack.runs], []))
        apart = step(stack, *arguments)
        steps[-1][1].extend(run.id.key for run in apart)
        return apart

    monkeypatch.setattr(RunStack, "step", recorded)
    return steps


@pytest.fixture
def batched(monkeypatch):
    """Compute as on a GPU: all models in one call."""
    monkeypatch.setattr(stacked_functions, "SEPARATE_DEVICES", frozenset())


def trained(world, kind, execution, runs, **settings):
    """Runs (method, seed) of one cohort, by method and seed."""
    here = world(kind, **{**SMALL, **settings, "execution": execution})
    made = {(method, seed): here.run(method, seed=seed) for method, seed in runs}
    made = {key: run for key, run in made.items() if here.supports(run)}
    train(here.cohort(*made.values()))
    return made


def all_methods(world):
    return sorted(world().methods)


def distance(mine, other):
    """Between the weights of two runs, relative to their norm. Single weights whose gradient is noise may differ."""
    one, two = (torch.cat([p.detach().flatten() for p in run.student.parameters()]) for run in (mine, other))
    return float((one - two).norm() / one.norm())


@pytest.mark.parametrize(
    ("kind", "student"),
    [("classification", "bert"), ("qa", "roberta"), ("regression", "distilbert"), ("token_classification", "electra")],
)
def test_every_method_gets_the_bits_of_sequential_steps(world, stacks, kind, student):
    """Grouped batches, batch-dependent and live stages, several stages, and dropout are among them."""
    methods = all_methods(world) if student == "bert" else ["tinybert", "logit_kd", "mlkd_bert", "minilm"]
    runs = [(method, 1) for method in methods]
    settings = {"student": student, "batching": "grouped", "epochs": 0.34}  # two steps
    alone = trained(world, kind, "sequential", runs, **settings)
    together = trained(world, kind, "fused", runs, **settings)
    for key, run in together.items():
        assert run.error is None
        assert_same(run, bits(alone[key]))
    assert max(len(keys) for keys, _ in stacks) > 1
    assert {apart for _, left in stacks for apart in left} == set()
    assert {key for keys, _ in stacks for key in keys} >= {f"{m}-1" for m in ("tinybert", "logit_kd", "mlkd_bert")}


@pytest.mark.usefixtures("batched")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_batched_products_train_the_same_students(world, stacks, precision, tolerance):
    runs = [("tinybert", 1), ("logit_kd", 1), ("finetune", 1)]
    settings = {"precision": precision, "epochs": 3.4}  # 20 steps
    alone, together = (trained(world, "classification", how, runs, **settings) for how in ("sequential", "fused"))
    assert len(alone["finetune", 1].history) == 7
    for key, run in together.items():
        assert run.error is None
        assert distance(run, alone[key]) < tolerance
    assert max(len(keys) for keys, _ in stacks) == 3


@pytest.mark.usefixtures("batched")
@pytest.mark.parametrize("student", ["bert", "roberta", "distilbert", "electra"])
def test_batched_products_have_equal_losses_and_gradients(world, monkeypatch, student):
    found = {}

    def gradients(run, step, logged):
        found[run.training.execution, run.id.key] = {
            **{name: p.grad for name, p in run.student.named_parameters()},
            **{f"modules.{name}": p.grad for name, p in run.modules.named_parameters()},
        }
        raise ZeroDivisionError("gradients are known")

    monkeypatch.setattr(Run, "update", gradients)
    runs = [(method, seed) for method in ("tinybert", "logit_kd", "mlkd_bert") for seed in (1, 2)]
    for how in ("sequential", "fused"):
        trained(world, "classification", how, runs, student=student)
    for method, seed in runs:
        alone, together = (found[how, f"{method}-{seed}"] for how in ("sequential", "fused"))
        for name, expected in alone.items():
            assert (together[name] is None) == (expected is None), name
            if expected is not None:
                limit = 1e-6 * max(float(g.abs().max()) for g in alone.values() if g is not None)
                torch.testing.assert_close(together[name], expected, rtol=1e-4, atol=limit)
    assert all(
        found["fused", "tinybert-1"][name] is None for name in found["fused", "tinybert-1"] if "classifier" in name
    )


@pytest.mark.parametrize("broken", [FailsAtStep, BecomesNaN, Meddles])
def test_a_run_that_fails_leaves_its_stack(world, stacks, broken):
    runs = [(broken, 1), ("logit_kd", 1), ("logit_kd", 2)]
    alone = trained(world, "classification", "sequential", runs, epochs=1, log_every=1)
    together = trained(world, "classification", "fused", runs, epochs=1, log_every=1)
    bad = together[broken, 1]
    assert bad.error == alone[broken, 1].error
    assert bad.error is not None
    for seed in (1, 2):
        assert together["logit_kd", seed].error is None
        assert_same(together["logit_kd", seed], bits(alone["logit_kd", seed]))
    assert [len(keys) for keys, _ in stacks][-2:] == [2, 2]
    storage = next(bad.student.parameters())
    assert storage.untyped_storage().nbytes() == storage.nbytes


class ChangesOutputs(Method):
    """A method that is fine alone, but not in a stack: it changes an output in place."""

    name = "changes outputs"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits.mul_(2), batch)}


def test_a_method_that_cannot_share_passes_steps_alone(world, stacks):
    runs = [(ChangesOutputs, 1), ("finetune", 1), ("finetune", 2)]
    alone, together = (trained(world, "classification", how, runs) for how in ("sequential", "fused"))
    for key, run in together.items():
        assert run.error is None
        assert_same(run, bits(alone[key]))
    assert [(len(keys), apart) for keys, apart in stacks] == [(3, ["changes outputs-1"]), (2, []), (2, []), (2, [])]


class RunsAgain(Method):
    """A method that runs the student again, in a stage with an average."""

    name = "runs again"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits", "hidden[1]"]), average=0.9)]

    def losses(self, step, batch, student, teachers):
        again, average = step.student.run(["logits"]), step.average.run(["logits"])
        return {
            "task": task_loss(student.logits, batch) + task_loss(again.logits, batch),
            "hidden": student.hidden[1].square().mean(),
            "average": (again.logits - average.logits).square().mean(),
        }


def test_methods_may_run_the_student_again(world, stacks):
    runs = [(RunsAgain, 1), (RunsAgain, 2), ("finetune", 1)]
    alone, together = (trained(world, "qa", how, runs, batching="grouped") for how in ("sequential", "fused"))
    for key, run in together.items():
        assert run.error is None
        assert_same(run, bits(alone[key]))
    assert {len(keys) for keys, _ in stacks} == {3}


@pytest.mark.parametrize("fits", [2, 1])
def test_a_stack_that_does_not_fit_is_halved(world, stacks, monkeypatch, fits):
    runs = [("logit_kd", seed) for seed in (1, 2, 3, 4)]
    alone = trained(world, "classification", "sequential", runs)
    forward = run_stack._Attempt._forward

    def starved(attempt, part):
        outputs = forward(attempt, part)  # has drawn dropout
        if len(attempt.stack.runs) > fits:
            raise torch.OutOfMemoryError(SAYS)
        return outputs

    monkeypatch.setattr(run_stack._Attempt, "_forward", starved)
    together = trained(world, "classification", "fused", runs)
    for key, run in together.items():
        assert run.error is None
        assert run.gradients.micro_batch_size is None
        assert_same(run, bits(alone[key]))
    sizes = [len(keys) for keys, _ in stacks]
    assert sizes == ([4, 2, 2] + [2, 2] * 3 if fits == 2 else [4, 2, 2])


def test_a_check_of_stacks_that_does_not_fit_leaves_runs_that_train_alone(world, monkeypatch):
    here = world(**SMALL, execution="fused")
    alone = trained(world, "classification", "sequential", [("logit_kd", 1)])
    good, later = here.run("logit_kd", seed=1), here.run("logit_kd", seed=2)

    def starved(*args, **options):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(stack_check, "_checked", {})
    monkeypatch.setattr(stack_check, "_difference", starved)
    cohort = here.cohort(good, later)
    assert train(cohort) == [good]
    assert cohort.deferred == [later]
    assert_same(good, bits(alone["logit_kd", 1]))


def test_a_run_whose_optimizer_does_not_fit_is_deferred_alone(world, stacks, monkeypatch):
    here = world(**SMALL, execution="fused")
    alone = trained(world, "classification", "sequential", [("logit_kd", 1), ("logit_kd", 2)])
    bad, good = here.run("logit_kd", seed=1), here.run("logit_kd", seed=2)

    def fails(optimizer):
        if optimizer is bad.trained.optimizer:
            raise torch.OutOfMemoryError(SAYS)
        allocate_moments(optimizer)

    monkeypatch.setattr("harness.training.trained_parameters.allocate_moments", fails)
    before, saved = bad.random.state_dict(), []
    cohort = here.cohort(bad, good)
    assert train(cohort, checkpoint=lambda run: saved.append((run, run.position))) == [good]
    assert cohort.deferred == [bad]
    assert saved == [(bad, 0)]
    assert torch.equal(bad.random.state_dict()["global"][0], before["global"][0])
    assert_same(good, bits(alone["logit_kd", 2]))


def test_a_run_that_cannot_leave_its_stack_for_lack_of_memory_is_deferred(world, monkeypatch, tmp_path):
    """Its checkpoint needs no memory of the device for copies of its weights."""
    here = world(**SMALL, execution="fused")
    alone = trained(world, "classification", "sequential", [("logit_kd", 2)])
    bad, good, left = here.run("logit_kd", seed=1), here.run("logit_kd", seed=2), []

    def starved(*args, **options):
        raise torch.OutOfMemoryError(SAYS)

    def saved(run):
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "clone", starved)
            run_checkpoints.save(run, tmp_path / f"{run.id.key}.pt")

    def separate(students, numbers):
        left.append(numbers)
        starved()

    monkeypatch.setattr(run_stack._Attempt, "_forward", starved)
    monkeypatch.setattr(StackedStudents, "separate", separate)
    cohort = here.cohort(bad, good)
    assert train(cohort, checkpoint=saved) == [good]
    assert left == [[0, 1]]
    assert cohort.deferred == [bad]
    assert (bad.error, good.error) == (None, None)
    assert_same(good, bits(alone["logit_kd", 2]))
    again = here.run("logit_kd", seed=1)
    assert run_checkpoints.restore(again, tmp_path / f"{bad.id.key}.pt")


def test_a_resumed_stack_gets_the_same_bits(world, stacks, tmp_path):
    runs = [("tinybert", 1), ("tinybert", 2), ("logit_kd", 1)]
    alone = trained(world, "classification", "sequential", runs, epochs=1)
    here = world(**{**SMALL, "epochs": 1, "execution": "fused"})

    def path(run):
        return tmp_path / f"{run.id.key}.pt"

    first = [here.run(method, seed=seed) for method, seed in runs]
    train(
        here.cohort(*first),
        stop=lambda: first[0].position >= 3,
        checkpoint=lambda run: run_checkpoints.save(run, path(run)),
    )
    stored = torch.load(path(first[0]), weights_only=True)["trained"]["student"]
    assert all(weight.untyped_storage().nbytes() == weight.nbytes for weight in stored.values())
    again = [here.run(method, seed=seed) for method, seed in runs]
    assert all(run_checkpoints.restore(run, path(run)) for run in again)
    train(here.cohort(*again))
    for key, run in zip(runs, again, strict=True):
        assert_same(run, bits(alone[key]))


def test_the_best_epoch_is_that_of_sequential_steps(world, stacks):
    chosen = {}
    for how in ("sequential", "fused"):
        here = world(epochs=1, execution=how, batching="random")
        runs = [here.run("logit_kd", seed=seed, best=here.best()) for seed in (1, 2)]
        train(here.cohort(*runs))
        chosen[how] = [(run.best.chosen, bits(run)[1]) for run in runs]
    assert chosen["fused"] == chosen["sequential"]
    assert len(stacks) == 6


def test_time_of_a_stack_is_shared_among_its_runs(world, stacks):
    runs = trained(world, "classification", "fused", [("finetune", 1), ("finetune", 2)], log_every=1)
    seconds = [run.cost.student_seconds for run in runs.values()]
    assert seconds[0] == pytest.approx(seconds[1])
    assert 0 < seconds[0] < math.inf
    assert {len(keys) for keys, _ in stacks} == {2}


def test_students_of_other_families_step_alone(world, stacks, caplog):
    """ConvBERT convolves, which is not among the stacked functions."""
    stack_check._checked.clear()
    runs = [("finetune", 1), ("finetune", 2)]
    alone, together = (
        trained(world, "classification", how, runs, student="convbert") for how in ("sequential", "fused")
    )
    for key, run in together.items():
        assert_same(run, bits(alone[key]))
    assert caplog.text.count("students of type convbert train one after another") == 1
    assert stacks == []


def test_runs_are_split_into_equal_stacks(world):
    here = world(execution="fused", batching="random")
    runs = [here.run("logit_kd", seed=seed) for seed in range(5)]
    execution = FusedExecution()
    assert execution.groups(runs) == [runs]
    execution._largest = 4
    assert [len(group) for group in execution.groups(runs)] == [2, 3]
    other = here.run("tinybert")  # its first stage stops before the head
    assert execution.groups([runs[0], other, runs[1]]) == [runs[:2], [other]]
