"""The cost of a run does not depend on interruptions, except for times and the memory of the process."""

import random

import pytest

from harness.training.run import Run

MEASURED = {"wall_seconds", "student_seconds", "teacher_seconds", "teacher_seconds_whole", "evaluation_seconds"}
PROCESS = {"peak_memory_bytes"}

SETS = ("seeds=[1]", "training.checkpoint_every=2", "training.epochs=2", "methods=[finetune,logit_kd,tinybert]")


def counts(small):
    """Label -> the cost of its run, without times."""
    return {record.label: record.cost.model_dump(exclude=MEASURED | PROCESS) for record in small.store().records()}


def interrupt_at(monkeypatch, number):
    """Kill the process, in effect, before the step with that number of any run."""
    step, steps = Run.step, iter(range(number))

    def killed(self, batches, *models):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        step(self, batches, *models)

    monkeypatch.setattr(Run, "step", killed)


@pytest.mark.parametrize("cache", ["0", "10"])
def test_counts_are_those_of_an_uninterrupted_run(small, monkeypatch, cache):
    sets = (*SETS, f"teacher_cache.max_gb={cache}")
    small.run(*sets)
    expected = counts(small)
    rng = random.Random(int(cache))
    for attempt in range(2):
        small.store().folder.rename(small.folder / f"before-{attempt}")
        monkeypatch.setenv("HARNESS_CACHE", str(small.folder / f"cache-{attempt}"))
        for _ in range(2):
            with monkeypatch.context() as patch:
                interrupt_at(patch, rng.randrange(8, 30))
                with pytest.raises(KeyboardInterrupt):
                    small.run(*sets)
        small.run(*sets)
        assert counts(small) == expected
