"""The result of a run does not depend on its cohort or on an interruption, on a GPU as on the CPU."""

import numpy as np
import pytest

from harness.execution import run_checkpoints
from harness.training.scoring import logits
from tests.support.training_world import SOLVED_ON_THE_CPU, assert_same, bits, train

SOME = {"cpu": ["finetune", "tinybert"], "cuda": ["finetune", "tinybert", "minilm", "mlkd_bert"]}
"""Methods by device: on the CPU few, where other tests compare all of them."""
NOT_DETERMINISTIC = "does not have a deterministic implementation"

LOSS_TOLERANCE = {"rel": 1e-3, "abs": 1e-4}
"""Of losses with the default kernels, some of which sum in an order that differs from call to call."""
LOGIT_TOLERANCE = {"rtol": 1e-2, "atol": 1e-2}
"""Of logits after training. Weights are not compared: Adam moves one whose gradient is only rounding by whole steps."""


def trained(here, *methods):
    """Runs of the methods, trained as one cohort."""
    runs = [here.run(method) for method in methods]
    train(here.cohort(*runs))
    return runs


def test_a_run_alone_is_close_to_the_run_in_a_cohort(world, device):
    here = world(device=device, epochs=1)
    for together in trained(here, *SOME[device]):
        (alone,) = trained(here, together.method.name)
        assert (alone.error, together.error) == (None, None)
        for mine, theirs in zip(alone.history, together.history, strict=True):
            assert mine.terms == pytest.approx(theirs.terms, **LOSS_TOLERANCE)
        outputs = [
            logits(run.capture, here.data.validation["validation"], here.data.pad_token_id, device=here.device)
            for run in (alone, together)
        ]
        np.testing.assert_allclose(*map(np.stack, outputs), **LOGIT_TOLERANCE)


def test_a_run_alone_is_bit_identical_with_deterministic_algorithms(world, device, deterministic):
    """On a GPU all methods, except those with an operator that has no deterministic implementation."""
    here = world(device=device, epochs=0.5)
    methods = SOME["cpu"] if device == "cpu" else sorted({*here.methods} - SOLVED_ON_THE_CPU)
    methods = [method for method in methods if here.supports(here.run(method))]
    prevented = {}
    with deterministic():
        together = trained(here, *methods)
        for run in together:
            if NOT_DETERMINISTIC in (run.error or ""):
                prevented[run.method.name] = run.error
                continue
            assert run.error is None
            (alone,) = trained(here, run.method.name)
            assert_same(run, bits(alone))
    assert len(prevented) < len(methods)
    if prevented:
        pytest.skip(f"{len(methods) - len(prevented)} methods are bit-identical; these cannot be: {prevented}")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_interrupted_run_resumes_with_the_same_bits(world, device, deterministic, precision, tmp_path):
    """With its dropout, optimizer and gradient scale."""
    here, saved = world(device=device, epochs=1, precision=precision), tmp_path / "run.pt"
    with deterministic():
        (whole,) = trained(here, "logit_kd")
        first = here.run("logit_kd")
        train(
            here.cohort(first),
            stop=lambda: first.position >= 3,
            checkpoint=lambda run: run_checkpoints.save(run, saved),
        )
        assert first.position == 3
        again = here.run("logit_kd")
        assert run_checkpoints.restore(again, saved)
        train(here.cohort(again))
    assert again.error is None
    assert_same(again, bits(whole))
