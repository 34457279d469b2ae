"""Checks by short runs: training, bit-identical resume, bit-identity in a cohort, and export of the student."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from harness.execution import run_checkpoints
from harness.models.heads import auto_class
from harness.models.quiet_transformers import quiet_transformers
from harness.testing.method_cases import CheckFailed, Subject
from harness.testing.tiny_runs import RunFactory, run_factory
from harness.training.run import Run

OTHER_STEPS = 2
"""Steps of the other runs of a cohort, in each stage."""

RunState = tuple[dict[str, Tensor], list[dict[str, float]]]
"""The weights of the student and the modules, and the losses of every step."""


def training(subject: Subject) -> None:
    """A short run finishes without an error; all weights stay finite, and those of the student change."""
    factory = run_factory(subject)
    run = factory.finished
    if run.error is not None:
        raise CheckFailed(run.error)
    if factory.watch.not_finite is not None:
        raise CheckFailed(factory.watch.not_finite)
    before = factory.run(seed=1).student.state_dict()
    if all(torch.equal(tensor, before[name]) for name, tensor in run.student.state_dict().items()):
        raise CheckFailed("training did not change the student's weights")


def resume(subject: Subject) -> None:
    """A run that is stopped and resumed from its checkpoint is bit-identical to an uninterrupted one.

    It is stopped twice in the first epochs, and in every further stage. State that the method keeps outside the
    parameters and buffers of its modules is lost at every stop.
    """
    factory = run_factory(subject)
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.pt"
        run = factory.run(seed=1)
        for position in _stops(run):
            run = _stop_at(position, factory, run, checkpoint)
        factory.train(run)
    _require_identical(run, factory.finished, "stopped and resumed")


def _stops(run: Run) -> list[int]:
    """Numbers of steps after which the run is stopped."""
    ends = [sum(run.progress.lengths[:number]) for number in range(1, len(run.progress.lengths))]
    return sorted({1, 3, *(end + 1 for end in ends)})


def _stop_at(position: int, factory: RunFactory, run: Run, checkpoint: Path) -> Run:
    """Train to `position`; returns a new run restored from the checkpoint, or the same run if it has failed."""
    factory.train(
        run, stop=lambda: run.position >= position, checkpoint=lambda run: run_checkpoints.save(run, checkpoint)
    )
    if run.ended:
        return run
    resumed = factory.run(seed=1)
    if not run_checkpoints.restore(resumed, checkpoint):
        raise CheckFailed("the checkpoint cannot be read; modules may hold parameters and buffers only")
    return resumed


def cohort(subject: Subject) -> None:
    """In a cohort with a run of another method and one with another seed, a run is bit-identical to a run alone."""
    factory = run_factory(subject)
    run = factory.run(seed=1)
    factory.train(factory.other_run(seed=2, steps=OTHER_STEPS), factory.run(seed=2, steps=OTHER_STEPS), run)
    _require_identical(run, factory.finished, "in a cohort with other runs")


def _require_identical(run: Run, expected: Run, condition: str) -> None:
    if run.error is not None:
        raise CheckFailed(f"{condition}: {run.error}")
    (weights, losses), (expected_weights, expected_losses) = _state(run), _state(expected)
    for name, tensor in expected_weights.items():
        if name not in weights or not torch.equal(weights[name], tensor):
            found = name in weights
            difference = (weights[name].float() - tensor.float()).abs().max().item() if found else float("nan")
            raise CheckFailed(f"{condition}: {name} differs from an uninterrupted run's by up to {difference:.3g}")
    for step, (actual, wanted) in enumerate(zip(losses, expected_losses, strict=True), start=1):
        if actual != wanted:
            raise CheckFailed(f"{condition}: the losses of step {step} are {actual}, in an uninterrupted run {wanted}")


def _state(run: Run) -> RunState:
    modules = {f"modules.{name}": tensor for name, tensor in run.modules.state_dict().items()}
    return {**run.student.state_dict(), **modules}, [point.terms for point in run.history]


def export(subject: Subject) -> None:
    """The exported student loads with plain transformers, without missing or unexpected keys, and its outputs agree."""
    run = run_factory(subject).finished
    with TemporaryDirectory() as folder, quiet_transformers():
        run.student.save_pretrained(folder)
        loaded, info = auto_class(subject.kind).from_pretrained(folder, output_loading_info=True)
    mismatches = {kind: keys for kind, keys in info.items() if keys}
    if mismatches:
        raise CheckFailed(f"transformers loads the exported student with {mismatches}")
    inputs = subject.cases[0].batch.inputs
    with torch.no_grad():
        outputs = zip(run.student.eval()(**inputs).to_tuple(), loaded.eval()(**inputs).to_tuple(), strict=True)
        difference = max(float((trained - exported).abs().max()) for trained, exported in outputs)
    if difference > 1e-5:
        raise CheckFailed(f"loaded by transformers, the exported student's outputs differ by up to {difference:.3g}")
