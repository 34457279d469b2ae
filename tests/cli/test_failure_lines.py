"""The summary of failed runs: each error once."""

from types import SimpleNamespace

from harness.cli.failure_lines import failure_lines
from harness.execution.outcome import Outcome


def run(label, seed, error):
    return SimpleNamespace(task="sst2", label=label, student="small", seed=seed, error=error)


def test_nothing_failed():
    assert list(failure_lines(Outcome())) == []


def test_an_error_of_many_runs_is_printed_once():
    floor = "teacher base on sst2 failed: it scores 0.5, below its floor of 0.9"
    runs = [run(label, seed, floor) for label in ("kd", "pkd") for seed in (1, 2, 3)]
    assert list(failure_lines(Outcome(failed=[*runs, run("mine", 1, "step 3: ValueError: x")]))) == [
        "",
        "7 runs failed:",
        f"  6 runs: {floor}",
        "    sst2 kd small seed 1",
        "    sst2 kd small seed 2",
        "    sst2 kd small seed 3",
        "    and 3 more",
        "  sst2 mine small seed 1: step 3: ValueError: x",
    ]


def test_other_artifacts_come_first():
    outcome = Outcome(
        failures=[SimpleNamespace(title="outputs of base on sst2", error="disk full")],
        failed=[run("kd", 1, "outputs of base on sst2 failed: disk full")],
    )
    assert list(failure_lines(outcome))[:3] == [
        "",
        "failed before the runs that need it:",
        "  outputs of base on sst2: disk full",
    ]
