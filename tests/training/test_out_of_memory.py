"""Lack of memory outside of the students' passes, and the release of memory."""

import gc
import weakref

import numpy as np
import pytest
import torch

from harness.api.device_transfer import to_device
from harness.execution import run_checkpoints
from harness.teacher_outputs import fill, output_store
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore
from harness.training import micro_batching, scoring
from harness.training.teacher import Teacher
from tests.support.training_world import alone, assert_same, bits, train

CPU, META = torch.device("cpu"), torch.device("meta")
SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore of it"


def failing(function, times):
    """`function`, which runs out of memory in its first `times` calls."""
    left = [times]

    def called(*args, **options):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError(SAYS)
        return function(*args, **options)

    return called


def saving(folder):
    return lambda run: run_checkpoints.save(run, folder / f"{run.id.key}.pt")


def resumed(here, folder, method):
    """The run trained to its end in a cohort of its own, from its checkpoint."""
    run = here.run(method)
    assert run_checkpoints.restore(run, folder / f"{run.id.key}.pt")
    train(here.cohort(run))
    assert run.error is None
    return run


@pytest.mark.parametrize("where", ["batch", "teacher"])
def test_half_of_the_runs_are_deferred_if_shared_tensors_do_not_fit(world, tmp_path, monkeypatch, where):
    here, methods = world(), ["finetune", "logit_kd", "pkd", "tinybert"]
    expected = {method: alone(here, method, {}, 1) for method in methods}
    runs = [here.run(method) for method in methods]
    cohort = here.cohort(*runs)
    if where == "batch":
        monkeypatch.setattr(cohort.stream, "at", failing(cohort.stream.at, 1))
    else:  # as a cached teacher reports it
        monkeypatch.setattr(cohort.teachers["base"], "forward", failing(cohort.teachers["base"].forward, 1))
    assert train(cohort, checkpoint=saving(tmp_path)) == runs[:2]
    for run in runs[:2]:
        assert run.error is None
        assert_same(run, expected[run.method.name])
    assert cohort.deferred == runs[2:]
    for run in runs[2:]:
        assert_same(resumed(here, tmp_path, run.method.name), expected[run.method.name])


def test_a_run_without_memory_for_copies_of_its_buffers_is_deferred(world, tmp_path, monkeypatch):
    here = world()
    expected = alone(here, "logit_kd", {}, 1)
    bad, good = here.run("logit_kd"), here.run("finetune")
    monkeypatch.setattr(bad.gradients, "start", failing(bad.gradients.start, 1))
    cohort = here.cohort(bad, good)
    assert train(cohort, checkpoint=saving(tmp_path)) == [good]
    assert cohort.deferred == [bad]
    assert_same(resumed(here, tmp_path, "logit_kd"), expected)


def last_moments_fail(monkeypatch, run):
    """Memory runs out once, at the last moments of the last parameter that is trained."""
    last, zeros_like = run.trained.optimizer.param_groups[-1]["params"][-1], torch.zeros_like
    starved = failing(zeros_like, 1)
    calls = {id(last): 0}

    def allocate(tensor, **options):
        if id(tensor) in calls:
            calls[id(tensor)] += 1
        return (starved if calls.get(id(tensor)) == 2 else zeros_like)(tensor, **options)

    monkeypatch.setattr(torch, "zeros_like", allocate)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("execution", ["sequential", "fused"])
def test_a_run_whose_moments_do_not_fit_takes_the_step_again(world, tmp_path, monkeypatch, execution, precision):
    """A stack takes it at once, otherwise the run is deferred. No weight has changed, and no scale."""
    here = world(precision=precision, execution=execution)
    expected = [bits(run) for run in (here.run("finetune", seed=seed) for seed in (1, 2)) if train(here.cohort(run))]
    bad, good = (here.run("finetune", seed=seed) for seed in (1, 2))
    last_moments_fail(monkeypatch, bad)
    cohort = here.cohort(bad, good)
    ended = train(cohort, checkpoint=saving(tmp_path))
    if execution == "sequential":
        assert (ended, cohort.deferred) == ([good], [bad])
        bad = resumed(here, tmp_path, "finetune")
    else:
        assert (ended, cohort.deferred) == ([bad, good], [])
    for run, alone_ in zip((bad, good), expected, strict=True):
        assert run.error is None
        assert_same(run, alone_)


def test_a_run_that_lacks_memory_in_an_update_fails(world, monkeypatch):
    """Some of its weights may have changed, so it cannot take the step again."""
    here = world()
    bad, good = here.run("finetune"), here.run("logit_kd")
    monkeypatch.setattr(bad.trained.optimizer, "step", failing(bad.trained.optimizer.step, 1))
    cohort = here.cohort(bad, good)
    assert train(cohort) == [bad, good]
    assert cohort.deferred == []
    assert bad.error == "step 1 (finetune): OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert good.error is None


@pytest.mark.parametrize("execution", ["sequential", "fused"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_cannot_be_scored_after_a_step_fails_alone(world, monkeypatch, execution, epoch):
    """Its weights have changed, so it must not take the step again. Nor must the other run, in a stack or not."""
    here = world(execution=execution, batching="random")
    other = here.run("finetune", seed=2, best=here.best())
    train(here.cohort(other))
    bad, good = here.run("finetune", best=here.best()), here.run("finetune", seed=2, best=here.best())
    read = bad.capture.run

    def starved(*args, **options):
        if not bad.student.training and len(bad.best.epochs) == epoch - 1:
            raise torch.OutOfMemoryError(SAYS)
        return read(*args, **options)

    monkeypatch.setattr(bad.capture, "run", starved)
    cohort = here.cohort(bad, good)
    assert train(cohort) == [bad, good]
    assert cohort.deferred == []
    assert "memory does not suffice for one example when the epoch is scored" in bad.error
    assert bad.position == 6 * epoch
    assert_same(good, bits(other))
    assert good.best.epochs == other.best.epochs


def test_a_teacher_that_fails_fails_its_students_only(world, monkeypatch):
    here = world()
    expected = alone(here, "finetune", {}, 1)
    student, other = here.run("tinybert"), here.run("finetune")
    cohort = here.cohort(student, other)

    def broken(*args, **options):
        raise RuntimeError("an illegal instruction\nof many lines")

    monkeypatch.setattr(cohort.teachers["base"], "forward", broken)
    assert train(cohort) == [student, other]
    assert student.error == "step 1 (intermediate): RuntimeError: an illegal instruction"
    assert student.cost.tokens == 0
    assert_same(other, expected)
    assert cohort.teacher_passes.forwards.total() == 0


def test_a_teacher_does_not_run_in_stages_without_needs(world):
    here = world()
    options = {"ss": False, "kd": False, "views": "dropout"}
    run, student = here.run("mlkd_bert", config=options), here.run("logit_kd")
    assert run.progress.stages[1].needs.teachers == (frozenset(),)
    cohort = here.cohort(run)
    train(cohort)
    assert run.error is None
    assert cohort.teacher_passes.forwards.total() == run.progress.lengths[0]
    again = here.run("mlkd_bert", config=options)
    train(here.cohort(again, student))
    assert student.cost.teacher_seconds == pytest.approx(  # shared in the first stage alone
        student.cost.teacher_seconds_whole - again.cost.teacher_seconds
    )


@pytest.mark.parametrize("method", ["finetune", "tinybert"])
def test_a_released_run_holds_no_weights(world, method):
    run = world().run(method)
    cohort = world().cohort(run)
    train(cohort)
    held = [weakref.ref(p) for module in (run.student, run.modules) for p in module.parameters()]
    held += [weakref.ref(moment) for state in run.trained.optimizer.state.values() for moment in state.values()]
    assert len(held) > 3 * len(list(run.student.parameters()))
    run.release()
    gc.collect()
    assert [ref() for ref in held if ref() is not None] == []


def test_a_checkpoint_is_loaded_on_the_cpu(world, tmp_path, monkeypatch):
    """Random states must be on the CPU to be restored."""
    run, places = world().run("finetune"), []
    run_checkpoints.save(run, tmp_path / "run.pt")
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **o: places.append(o["map_location"]) or load(*a, **o))
    run.device = META
    assert run_checkpoints.restore(run, tmp_path / "run.pt")
    assert places == ["cpu"]


def test_scoring_retries_with_smaller_batches(world, monkeypatch):
    here = world("qa")
    run, encoded = here.run("finetune"), here.data.validation["validation"]
    expected = scoring.logits(run.capture, encoded, 0, device=CPU)
    seen, read = [], run.capture.run

    def starved(inputs, needs, **options):
        seen.append(len(inputs["input_ids"]))
        if seen[-1] > 6:
            raise torch.OutOfMemoryError(SAYS)
        return read(inputs, needs, **options)

    monkeypatch.setattr(run.capture, "run", starved)
    actual = scoring.logits(run.capture, encoded, 0, device=CPU)
    assert seen == [20, 16, 8, *[4] * 5]
    for mine, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(run.capture, "run", failing(read, 99))
    with pytest.raises(micro_batching.InsufficientMemory, match="out of memory"):
        scoring.logits(run.capture, encoded, 0, device=CPU)


def store_of(here, folder):
    return TeacherOutputStore.of(folder, "teacher", here.data, {"device": "cpu", "precision": "fp32"})


def test_a_canonical_batch_is_never_split(world, tmp_path, monkeypatch):
    """Its outputs would have other bits."""
    here = world()
    teacher = Teacher("base", here.teacher(), "tokenizer", CPU)
    monkeypatch.setattr(teacher.capture, "run", failing(teacher.capture.run, 1))
    filled = {"training": here.training, "device": CPU, "stop": lambda: False, "on_progress": lambda done: None}
    with pytest.raises(micro_batching.InsufficientMemory, match="12 examples at once in teacher base"):
        fill.fill(store_of(here, tmp_path), ["hidden[1]"], teacher, **filled)
    assert fill.fill(store_of(here, tmp_path), ["hidden[1]"], teacher, **filled).forwards == 2


class Pageable:
    """A tensor that records how it was copied."""

    def __init__(self, moves=()):
        self.moves = moves

    def pin_memory(self):
        return Pageable((*self.moves, "pinned"))

    def to(self, device, non_blocking=False):
        return Pageable((*self.moves, device.type, non_blocking))


def test_copies_to_a_gpu_are_pinned_and_do_not_block():
    assert to_device(Pageable(), torch.device("cuda:1")).moves == ("pinned", "cuda", True)
    assert to_device(Pageable(), CPU).moves == ("cpu", False)


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_cached_outputs_are_on_the_device_of_the_batch(world, tmp_path, monkeypatch, kind):
    here, store = world(kind), store_of(world(kind), tmp_path)
    names = frozenset({"logits", "hidden[2]", "queries[1]", "keys[1]"})
    filled = {"training": here.training, "device": CPU, "stop": lambda: False, "on_progress": lambda done: None}
    fill.fill(store, sorted(names), Teacher("base", here.teacher(), "tokenizer", CPU), **filled)
    moved = []
    monkeypatch.setattr(
        output_store, "to_device", lambda tensor, device: moved.append(device) or to_device(tensor, device)
    )
    batch = here.data.batch([3, 17, 4]).to(META)
    tensors = CachedTeacher("base", store, names).forward(batch, names | {"scores[1]"}, here.training)
    assert {tensor.device for tensor in tensors.tensors()} == {META}
    assert moved == [META] * len(names | {"scores[1]"} - {"scores[1]"})
