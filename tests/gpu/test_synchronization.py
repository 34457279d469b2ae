"""No step waits for the GPU: neither with teachers that run, nor with their cached outputs, nor for the next batch."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch

from harness.teacher_outputs import fill
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore, stored_for
from harness.training.cohort import Cohort
from harness.training.prefetcher import Prefetcher
from harness.training.teacher import Teacher
from tests.support.training_world import SOLVED_ON_THE_CPU, step
from tests.training.test_methods import KINDS

CACHED = ["logit_kd", "pkd", "tinybert", "minilm", "mlkd_bert"]


@contextmanager
def no_synchronization(device):
    """On a GPU, whatever waits for the device raises an error."""
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def steps(here, cohort, *, guarded):
    """A step of each run in each of its stages, twice: the first one, which may wait, sets up kernels and optimizer."""
    for number in range(max(len(run.progress.stages) for run in cohort.runs)):
        for run in cohort.runs:
            run.enter_stage(min(number, len(run.progress.stages) - 1))
        with Prefetcher(cohort.stream, here.device) as batches:
            take(cohort, batches, 0)
            with guarded():
                take(cohort, batches, 1)
    return {run.method.name: run.error for run in cohort.runs if run.error}


def take(cohort, batches, position):
    data = batches.at(position)
    outputs = cohort.teacher_passes.outputs(position, data, cohort.runs)
    for run in cohort.runs:
        if run.error is None:
            step(cohort, run, data, outputs)


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "precision"), [*((kind, "fp32") for kind in KINDS), ("classification", "fp16")])
def test_no_step_waits_for_the_gpu(world, device, kind, precision):
    here = world(kind, device=device, epochs=10, log_every=1000, precision=precision)
    runs = [here.run(method) for method in sorted({*here.methods} - SOLVED_ON_THE_CPU)]
    cohort = here.cohort(*filter(here.supports, runs))
    assert steps(here, cohort, guarded=partial(no_synchronization, device)) == {}


def test_cached_outputs_are_pinned_and_read_without_waiting(world, device, tmp_path, monkeypatch):
    here = world("qa", device=device, epochs=10, log_every=1000)  # so that no stage ends within two steps
    runs = [run for run in map(here.run, CACHED) if here.supports(run)]
    needs = {name for run in runs for stage in run.progress.stages for names in stage.needs.teachers for name in names}
    cached = cached_teacher(here, needs, tmp_path)
    pinned, real = [], torch.Tensor.pin_memory
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or real(tensor))
    cohort = Cohort(here.stream(), {"base": cached}, runs, here.device)
    assert steps(here, cohort, guarded=partial(no_synchronization, device)) == {}
    assert cohort.teacher_passes.forwards.total() == 0
    assert bool(pinned) == (device == "cuda")


def test_cached_outputs_equal_those_of_the_teacher(world, device, tmp_path):
    here = world("qa", device=device)
    needs = frozenset({"logits", "embeddings", "hidden[2]", "queries[1]", "keys[1]", "scores[1]"})
    cached, teacher = cached_teacher(here, needs, tmp_path), Teacher("base", here.teacher(), "tokenizer", here.device)
    batch = here.stream().at(0, here.device).whole("tokenizer")
    mine, theirs = (source.forward(batch, needs, here.training) for source in (cached, teacher))
    real = batch.mask[:, None]
    for name in ("hidden", "queries", "keys"):
        for layer, tensor in getattr(theirs, name).items():
            mask = batch.mask[..., None] if name == "hidden" else real[..., None]
            torch.testing.assert_close(getattr(mine, name)[layer], tensor * mask, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.logits, theirs.logits, rtol=1e-4, atol=1e-5)
    assert {tensor.device.type for tensor in mine.tensors()} == {device}


def cached_teacher(here, needs, folder):
    """The teacher's outputs `needs`, computed and read from `folder`."""
    numeric = {"device": here.device.type, "precision": here.training.precision}
    store = TeacherOutputStore.of(folder, "teacher", here.data, numeric)
    names = stored_for(needs)
    fill.fill(
        store,
        sorted(names),
        Teacher("base", here.teacher(), "tokenizer", here.device),
        training=here.training,
        device=here.device,
        stop=lambda: False,
        on_progress=lambda done: None,
    )
    return CachedTeacher("base", store, names)
