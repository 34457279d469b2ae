"""`python -m benchmarks.gpu`: all benchmarks within a time limit."""

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import gpu
from benchmarks.measuring import Measured, Row, result
from harness.api.errors import UserError

TINY = "--device cpu --precision fp32 --teacher 2x24 --students 1x12,1x24 --batch 2 --length 8 --steps 1"


class Clock:
    """A clock that only the test advances."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command with replaced benchmarks that take `seconds` each; `seen` has benchmark, student and limit."""
    clock, seen = Clock(), []
    monkeypatch.setattr(gpu, "time", clock)

    def run(*arguments, seconds=1.0, failing=()):
        def measure(benchmark, options):
            seen.append((str(benchmark), *options.students, options.max_seconds))
            clock.now += seconds
            if benchmark in failing:
                raise UserError("it is not installed")
            return result(benchmark, options, lambda *_: Measured("", [Row(what="a / b", ratios=[1.0])], {}), print)

        monkeypatch.setattr(gpu, "measure", measure)
        app = typer.Typer()
        app.command()(gpu.run)
        return CliRunner().invoke(app, [*TINY.split(), "--out", str(tmp_path), *arguments])

    run.seen, run.out = seen, tmp_path
    return run


def test_every_benchmark_runs_and_shares_the_time(command):
    done = command("--minutes", "1")
    assert done.exit_code == 0, done.output
    names = [f"{name}-{size}" for name in ("floor", "cohort", "textbrewer", "cached") for size in ("1x12", "1x24")]
    assert [f"{name}-{size}" for name, size, _ in command.seen] == names
    assert sorted(path.stem for path in command.out.glob("*.json")) == sorted(names)
    assert command.seen[0][2] == pytest.approx(0.7 * 60 / 8 / 2)  # two comparisons
    assert command.seen[-1][2] == pytest.approx(0.7 * 53 / 2)


def test_what_is_finished_before_the_time_is_over_is_kept(command):
    done = command("--minutes", "1", seconds=25.0)
    assert done.exit_code == 1
    assert sorted(path.stem for path in command.out.glob("*.json")) == ["cohort-1x12", "floor-1x12", "floor-1x24"]
    assert "missing: cohort 1x24: the time is over" in done.stderr


def test_a_benchmark_that_cannot_run_is_named_and_the_others_run(command):
    done = command(failing=("floor",))
    assert done.exit_code == 1
    assert "missing: floor 1x12: UserError: it is not installed" in done.stderr
    assert len(list(command.out.glob("*.json"))) == 6


@pytest.mark.parametrize(("argument", "message"), [("--device=cuda:9", "cuda:9"), ("--precision=fp8", "precision")])
def test_invalid_options_are_reported(command, argument, message):
    done = command(argument)
    assert done.exit_code == 2
    assert message in done.stderr
    assert command.seen == []
