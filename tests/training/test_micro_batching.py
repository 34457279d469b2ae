"""Micro-batches: they have the gradients of the whole batch; a batch that does not fit in memory is split."""

import gc
import weakref
from contextlib import suppress

import pytest
import torch

from harness import Method, Needs, Stage, layers
from harness.api.batch import Batch
from harness.api.losses import task_loss, token_mse
from harness.api.model_outputs import ModelOutputs
from harness.execution import run_checkpoints
from harness.testing import tiny_batch
from harness.training import micro_batching
from harness.training.teacher import Teacher

CPU = torch.device("cpu")
CUDA_SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore of it"


@pytest.fixture
def world(world):
    """Batches are one group by default, so that the sizes of micro-batches are known."""
    return lambda kind="classification", **training: world(kind, **{"batching": "random", **training})


def cpu_runs_out():
    torch.empty(1 << 50)


def cuda_runs_out():
    raise torch.OutOfMemoryError(CUDA_SAYS)


class Hungry(Method):
    """Runs out of memory with more than `most` examples. It draws random numbers, logs and counts examples."""

    name = "hungry"
    most = 3
    runs_out = staticmethod(cuda_runs_out)

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits", *layers("hidden", [2])]]))]

    def modules(self, student, teachers):
        counter = torch.nn.Module()
        counter.register_buffer("seen", torch.zeros(()))
        return torch.nn.ModuleDict({"counter": counter})

    def losses(self, step, batch, student, teachers):
        step.modules["counter"].seen += len(batch.ids)
        step.log("drawn", torch.rand((), generator=step.generator))
        if len(batch.ids) > self.most:
            self.runs_out()
        assert teachers[0].hidden[2].shape[:2] == batch.inputs["input_ids"].shape
        return {"task": task_loss(student.logits, batch)}


class HungryWithAverage(Hungry):
    """Updates its average by assignment, which replaces the buffer by another tensor."""

    def modules(self, student, teachers):
        bank = torch.nn.Module()
        bank.register_buffer("mean", torch.zeros(()))
        return torch.nn.ModuleDict({**super().modules(student, teachers), "bank": bank})

    def losses(self, step, batch, student, teachers):
        bank = step.modules["bank"]
        bank.mean = 0.9 * bank.mean + 0.1 * len(batch.ids)
        return super().losses(step, batch, student, teachers)


class HungryForOne(Hungry):
    most = 0


class HungryWithCoupledTerms(Hungry):
    def stages(self):
        (stage,) = super().stages()
        return [Stage(stage.name, stage.needs, batch_dependent=frozenset({"sc", "ss"}))]


def train(cohort, *, checkpoint=lambda run: None):
    return list(cohort.train(stop=lambda: False, checkpoint=checkpoint))


def without_dropout(run):
    for module in run.student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    run.student.config.attention_probs_dropout_prob = 0.0
    return run


def weights(run):
    return {**run.student.state_dict(), **{f"modules.{k}": v for k, v in run.modules.state_dict().items()}}


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
@pytest.mark.parametrize("method", ["finetune", "logit_kd", "pkd", "tinybert", "minilm", "mt_bert"])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(world, method, kind):
    """For whole batches, and for groups that are split further."""
    whole, split = (
        without_dropout(world(kind, micro_batch_size=size, batching=batching, epochs=0.5).run(method))
        for size, batching in ((None, "random"), (3, "grouped"))
    )
    gradients = {}
    for run in (whole, split):

        def keep(*_, run=run):
            learnt = [p for p in run.student.parameters() if p.grad is not None]
            gradients.setdefault(run, [p.grad.clone() for p in learnt])

        run.trained.optimizer.register_step_pre_hook(keep)
        here = world(kind, epochs=0.5, batching=run.training.batching)
        train(here.cohort(run))
        assert run.error is None
    largest = max(float(g.abs().max()) for g in gradients[whole])
    for mine, theirs in zip(gradients[split], gradients[whole], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5 * largest, rtol=1e-5)
    for mine, theirs in zip(split.history, whole.history, strict=True):
        assert mine.terms == pytest.approx(theirs.terms, rel=1e-4)


def test_batch_dependent_terms_are_never_split(world):
    here = world(micro_batch_size=2)
    sizes: dict = {}
    run = here.run("mlkd_bert")
    original = run.method.losses

    def losses(step, batch, student, teachers):
        sizes.setdefault(step.stage.name, set()).add(len(batch.ids))
        return original(step, batch, student, teachers)

    run.method.losses = losses
    train(here.cohort(run))
    assert run.error is None
    assert sizes == {"stage1": {2}, "stage2": {8, 4}}  # 44 examples: five batches of 8 and one of 4


@pytest.mark.parametrize("runs_out", [cuda_runs_out, cpu_runs_out])
@pytest.mark.parametrize("method", [Hungry, HungryWithAverage])
def test_out_of_memory_halves_the_micro_batches(world, monkeypatch, method, runs_out):
    monkeypatch.setattr(Hungry, "runs_out", staticmethod(runs_out))
    here = world()
    retried, chosen = here.run(method), world(micro_batch_size=2).run(method)
    train(here.cohort(retried))
    train(here.cohort(chosen))
    assert retried.error is None
    assert retried.gradients.micro_batch_size == 2
    for (name, mine), theirs in zip(weights(retried).items(), weights(chosen).values(), strict=True):
        assert torch.equal(mine, theirs), name
    assert retried.history == chosen.history
    assert retried.modules["counter"].seen == 2 * 44


def test_the_micro_batch_size_is_saved_in_the_checkpoint(world, tmp_path):
    here = world()
    first, expected = here.run(Hungry), here.run(Hungry)
    train(here.cohort(expected))
    saved = tmp_path / "run.pt"
    cohort = here.cohort(first)
    list(cohort.train(stop=lambda: first.position == 4, checkpoint=lambda run: run_checkpoints.save(run, saved)))
    again = here.run(Hungry)
    assert run_checkpoints.restore(again, saved)
    assert again.gradients.micro_batch_size == 2
    train(here.cohort(again))
    assert all(torch.equal(mine, weights(expected)[name]) for name, mine in weights(again).items())


@pytest.mark.parametrize(
    ("method", "words"),
    [(HungryForOne, ["one example"]), (HungryWithCoupledTerms, ["8 examples, which sc, ss compare with each other"])],
)
def test_a_run_that_cannot_be_split_is_deferred_and_fails_alone(world, tmp_path, method, words):
    here = world()
    expected = here.run("tinybert")
    train(here.cohort(expected))
    bad, good = here.run(method), here.run("tinybert")
    saved = tmp_path / "run.pt"
    cohort = here.cohort(bad, good)
    assert train(cohort, checkpoint=lambda run: run_checkpoints.save(run, saved)) == [good]
    assert good.error is None
    assert all(torch.equal(mine, weights(expected)[name]) for name, mine in weights(good).items())
    assert cohort.deferred == [bad]
    assert bad.error is None
    assert {p.device.type for p in bad.student.parameters()} == {"meta"}
    alone = here.run(method)
    assert run_checkpoints.restore(alone, saved)
    before = {name: tensor.clone() for name, tensor in weights(alone).items()}
    assert train(here.cohort(alone)) == [alone]
    for word in [*words, "step 1 (only)", "memory does not suffice", "training.batch_size", "CUDA out of memory"]:
        assert word in alone.error
    assert "more of it" not in alone.error
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(alone).items())
    assert torch.equal(alone.random.generator.get_state(), here.run(method).random.generator.get_state())


def starve(teacher: Teacher, most: int, monkeypatch):
    """Make `teacher` run out of memory with more than `most` examples."""
    run, sizes = teacher.capture.run, []

    def hungry(inputs, needs, **options):
        if len(inputs["input_ids"]) > most:
            raise torch.OutOfMemoryError(CUDA_SAYS)
        sizes.append(len(inputs["input_ids"]))
        return run(inputs, needs, **options)

    monkeypatch.setattr(teacher.capture, "run", hungry)
    return sizes


def test_a_teacher_splits_a_batch_into_micro_batches(world, monkeypatch):
    here = world("qa")
    expected = without_dropout(here.run("tinybert"))
    train(here.cohort(expected))
    run = without_dropout(here.run("tinybert"))
    cohort = here.cohort(run)
    sizes = starve(cohort.teachers["base"], 5, monkeypatch)
    train(cohort)
    assert run.error is None
    assert set(sizes) <= {4, 1, 2, 3}
    assert cohort.teacher_passes.forwards == {"base": run.steps}
    for mine, theirs in zip(run.history, expected.history, strict=True):
        assert mine.terms == pytest.approx(theirs.terms, rel=1e-4)


def test_a_teacher_without_memory_for_one_example_splits_the_cohort(world, monkeypatch):
    here = world()
    runs = [here.run("logit_kd", seed=seed) for seed in (1, 2, 3)]
    cohort = here.cohort(*runs)
    starve(cohort.teachers["base"], 0, monkeypatch)
    assert train(cohort) == [runs[0]]
    assert cohort.deferred == [runs[2], runs[1]]
    assert "one example in teacher base" in runs[0].error
    assert "\n" not in runs[0].error


def test_joined_parts_equal_the_original_outputs():
    batch = Batch.from_mapping(tiny_batch("qa", batch=5))
    tensors = ModelOutputs(_logits=torch.randn(5, 2, 12))
    tensors.scores[2] = torch.randn(5, 4, 12, 12)
    parts = list(micro_batching.slices(5, 2))
    again = ModelOutputs.joined([tensors.part(rows) for rows in parts])
    assert torch.equal(again.logits, tensors.logits)
    assert torch.equal(again.scores[2], tensors.scores[2])
    assert [batch.part(rows).ids for rows in parts] == [("0", "1"), ("2", "3"), ("4",)]
    for rows in parts:
        part = batch.part(rows)
        assert [len(tensor) for tensor in part.tensors()] == [len(part.ids)] * len(batch.tensors())
        assert token_mse(again.scores[2][rows, 0], tensors.scores[2][rows, 0], part.mask) == 0


def test_other_errors_propagate_from_a_retry():
    retry = micro_batching.MemoryRetry(8)
    assert next(iter(retry)) == 8
    with pytest.raises(RuntimeError, match="shapes"), retry:
        raise RuntimeError("shapes do not fit")


@pytest.fixture
def no_collection():
    """Reference cycles are kept."""
    gc.disable()
    yield
    gc.enable()


def lacks_memory(made):
    """Makes a tensor, which it adds to `made`, and runs out of memory with an error that refers to itself."""
    tensor = torch.ones(3)
    made.append(weakref.ref(tensor))
    reraise(torch.OutOfMemoryError(CUDA_SAYS))


def reraise(error):
    raise error


def test_tensors_of_a_failed_attempt_are_freed_before_the_next(no_collection):
    made, kept, retry = [], [], micro_batching.MemoryRetry(8)
    with suppress(micro_batching.InsufficientMemory):
        for _ in retry:
            kept += [tensor() for tensor in made]
            with retry:
                lacks_memory(made)
    assert len(made) == 4
    assert kept == [None] * (1 + 2 + 3)


def test_tensors_are_freed_before_lack_of_memory_is_handled(no_collection):
    made = []
    with pytest.raises(micro_batching.InsufficientMemory) as raised, micro_batching.convert_memory_errors():
        lacks_memory(made)
    assert isinstance(raised.value.__context__, torch.OutOfMemoryError)
    assert made[0]() is None
