"""Memory that does not suffice somewhere else than in a student's passes; and what gives its memory up."""

import gc
import weakref

import numpy as np
import pytest
import torch

from harness.execution import run_checkpoints
from harness.teacher_outputs import fill, output_store
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore
from harness.training import micro_batching, scoring
from harness.training.cohort import Teacher
from harness.training.device_transfer import to_device
from tests.training.test_cohort import alone, assert_same, train

CPU, META = torch.device("cpu"), torch.device("meta")
SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore of it"


def failing(function, times):
    """Memory does not suffice for the first `times` calls."""
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
    """Alone, from its checkpoint, to the end."""
    run = here.run(method)
    assert run_checkpoints.restore(run, folder / f"{run.id.key}.pt")
    train(here.cohort(run))
    assert run.error is None
    return run


@pytest.mark.parametrize("where", ["batch", "teacher"])
def test_without_room_for_what_is_shared_half_of_the_runs_go_on_later(world, tmp_path, monkeypatch, where):
    here, methods = world(), ["finetune", "logit_kd", "pkd", "tinybert"]
    expected = {method: alone(here, method, {}, 1) for method in methods}
    runs = [here.run(method) for method in methods]
    cohort = here.cohort(*runs)
    if where == "batch":
        monkeypatch.setattr(cohort.stream, "at", failing(cohort.stream.at, 1))
    else:  # as one that reads kept tensors says it
        monkeypatch.setattr(cohort.teachers["base"], "forward", failing(cohort.teachers["base"].forward, 1))
    assert train(cohort, checkpoint=saving(tmp_path)) == runs[:2]
    for run in runs[:2]:
        assert run.error is None
        assert_same(run, expected[run.method.name])
    assert cohort.deferred == runs[2:]
    for run in runs[2:]:
        assert_same(resumed(here, tmp_path, run.method.name), expected[run.method.name])


def test_without_room_for_the_optimisers_moments_a_run_goes_on_by_itself(world, tmp_path, monkeypatch):
    here = world()
    expected = {method: alone(here, method, {}, 1) for method in ("finetune", "tinybert")}
    bad, good = here.run("tinybert"), here.run("finetune")
    monkeypatch.setattr(bad.optimizer, "step", failing(bad.optimizer.step, 1))
    cohort = here.cohort(bad, good)
    assert train(cohort, checkpoint=saving(tmp_path)) == [good]
    assert_same(good, expected["finetune"])
    assert cohort.deferred == [bad]
    assert bad.error is None
    assert_same(resumed(here, tmp_path, "tinybert"), expected["tinybert"])


def test_a_teacher_that_fails_takes_its_readers_along_and_nobody_else(world, monkeypatch):
    here = world()
    expected = alone(here, "finetune", {}, 1)
    reader, other = here.run("tinybert"), here.run("finetune")
    cohort = here.cohort(reader, other)

    def broken(*args, **options):
        raise RuntimeError("an illegal instruction\nof many lines")

    monkeypatch.setattr(cohort.teachers["base"], "forward", broken)
    assert train(cohort) == [reader, other]
    assert reader.error == "step 1 (intermediate): RuntimeError: an illegal instruction"
    assert reader.tokens == 0
    assert_same(other, expected)
    assert cohort.teacher_forwards == 0


def test_who_asks_a_teacher_for_nothing_has_it_run_for_nothing(world):
    here = world()
    options = {"ss": False, "kd": False, "views": "dropout"}
    run, reader = here.run("mlkd_bert", config=options), here.run("logit_kd")
    assert run.stages[1].needs.teachers == (frozenset(),)
    cohort = here.cohort(run)
    train(cohort)
    assert run.error is None
    assert cohort.teacher_forwards == run.lengths[0]
    again = here.run("mlkd_bert", config=options)
    train(here.cohort(again, reader))
    assert reader.cost.teacher_seconds == pytest.approx(  # shared in the first stage alone
        reader.cost.teacher_seconds_whole - again.cost.teacher_seconds
    )


@pytest.mark.parametrize("method", ["finetune", "tinybert"])
def test_a_run_that_is_released_holds_no_weights(world, method):
    run = world().run(method)
    cohort = world().cohort(run)
    train(cohort)
    held = [weakref.ref(p) for module in (run.student, run.modules) for p in module.parameters()]
    held += [weakref.ref(moment) for state in run.optimizer.state.values() for moment in state.values()]
    assert len(held) > 3 * len(list(run.student.parameters()))
    run.release()
    gc.collect()
    assert [ref() for ref in held if ref() is not None] == []


def test_a_checkpoint_is_read_on_the_cpu(world, tmp_path, monkeypatch):
    """Where random states must be. Onto a GPU they could not be put back."""
    run, places = world().run("finetune"), []
    run_checkpoints.save(run, tmp_path / "run.pt")
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **o: places.append(o["map_location"]) or load(*a, **o))
    run.device = META
    assert run_checkpoints.restore(run, tmp_path / "run.pt")
    assert places == ["cpu"]


def test_scoring_goes_on_in_smaller_batches(world, monkeypatch):
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
    found = scoring.logits(run.capture, encoded, 0, device=CPU)
    assert seen == [20, 16, 8, *[4] * 5]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(run.capture, "run", failing(read, 99))
    with pytest.raises(micro_batching.InsufficientMemory, match="out of memory"):
        scoring.logits(run.capture, encoded, 0, device=CPU)


def shelf_of(here, folder):
    return TeacherOutputStore.of(folder, "teacher", here.data, {"device": "cpu", "precision": "fp32"})


def test_a_canonical_batch_is_never_split(world, tmp_path, monkeypatch):
    """Its tensors would have other bits."""
    here = world()
    teacher = Teacher("base", here.teacher(), "reader", CPU)
    monkeypatch.setattr(teacher.capture, "run", failing(teacher.capture.run, 1))
    filled = {"training": here.training, "device": CPU, "stop": lambda: False, "on_progress": lambda done: None}
    with pytest.raises(micro_batching.InsufficientMemory, match="12 examples at once in teacher base"):
        fill.fill(shelf_of(here, tmp_path), ["hidden[1]"], teacher, **filled)
    assert fill.fill(shelf_of(here, tmp_path), ["hidden[1]"], teacher, **filled).forwards == 2


class Pageable:
    """A tensor that says how it was moved."""

    def __init__(self, moves=()):
        self.moves = moves

    def pin_memory(self):
        return Pageable((*self.moves, "pinned"))

    def to(self, device, non_blocking=False):
        return Pageable((*self.moves, device.type, non_blocking))


def test_a_gpu_copies_from_pinned_memory_and_nothing_waits():
    assert to_device(Pageable(), torch.device("cuda:1")).moves == ("pinned", "cuda", True)
    assert to_device(Pageable(), CPU).moves == ("cpu", False)


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_kept_tensors_are_sent_where_the_batch_is(world, tmp_path, monkeypatch, kind):
    here, shelf = world(kind), shelf_of(world(kind), tmp_path)
    names = frozenset({"logits", "hidden[2]", "queries[1]", "keys[1]"})
    filled = {"training": here.training, "device": CPU, "stop": lambda: False, "on_progress": lambda done: None}
    fill.fill(shelf, sorted(names), Teacher("base", here.teacher(), "reader", CPU), **filled)
    moved = []
    monkeypatch.setattr(
        output_store, "to_device", lambda tensor, device: moved.append(device) or to_device(tensor, device)
    )
    batch = here.data.batch([3, 17, 4]).to(META)
    tensors = CachedTeacher("base", shelf, names).forward(batch, names | {"scores[1]"}, here.training)
    assert {tensor.device for tensor in tensors.every()} == {META}
    assert moved == [META] * len(names | {"scores[1]"} - {"scores[1]"})
