"""`python -m benchmarks`."""

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import run

SIZES = "--teacher 2x24 --students 1x12 --runs 1 --batch 2 --length 8 --steps 1 --repetitions 1 --threads 1"


@pytest.fixture
def benchmarks(tmp_path):
    app = typer.Typer()
    app.command()(run)
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])


def test_it_prints_what_it_writes(benchmarks, tmp_path):
    done = benchmarks("floor", *SIZES.split())
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == (tmp_path / "floor-1x12.md").read_text().strip()
    assert "1x12, 1 runs on logits: together / alone" in done.stdout
    assert (tmp_path / "floor-1x12.json").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("--students=4by312", "students"),
        ("--students=4x313", "313"),
        ("--steps=0", "steps"),
        ("--device=toaster", "device"),
    ],
)
def test_what_cannot_be_is_told_in_words(benchmarks, tmp_path, wrong, told):
    done = benchmarks("floor", "--teacher=2x24", wrong)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())
