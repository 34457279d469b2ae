"""Every installed method takes a step in each of its stages on the GPU, on every kind of task, in every precision."""

import pytest

from harness.training.metrics_log import NonFiniteLoss
from tests.training.test_methods import KINDS

PRECISIONS = ["fp32", "bf16", "fp16"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_a_step(world, device, kind, precision):
    here = world(kind, device=device, precision=precision, log_every=1000)
    runs = [run for run in map(here.run, sorted(here.methods)) if here.supports(run)]
    assert len(runs) > 20
    assert problems_of_steps(here, runs) == {}


def test_a_method_takes_a_step_on_the_cpu(world):
    """So that the test above works, but for the device."""
    here = world("qa", precision="fp16", log_every=1000)
    assert problems_of_steps(here, [here.run("tinybert")]) == {}


def problems_of_steps(here, runs):
    """Method -> what went wrong in the first steps of its stages."""
    problems = {}
    for run in runs:
        if problem := problem_of_steps(here, run):
            problems[run.method.name] = problem
    return problems


def problem_of_steps(here, run):
    """What went wrong in the first steps of the run's stages; None: nothing."""
    here.step_each_stage(run)
    if run.error:
        return run.error
    try:
        means = run.curve.log.read()
    except NonFiniteLoss as error:
        return str(error)
    if "loss" not in means:
        return f"no loss among {means}"
    devices = {parameter.device.type for parameter in run.student.parameters()}
    return None if devices == {here.device.type} else f"the student is on {devices}"
