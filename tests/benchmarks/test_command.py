"""The command `python -m benchmarks`."""

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


def test_the_printed_table_equals_the_file(benchmarks, tmp_path):
    done = benchmarks("floor", *SIZES.split())
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == (tmp_path / "floor-1x12.md").read_text().strip()
    assert "1x12, 1 runs on logits: together / alone" in done.stdout
    assert (tmp_path / "floor-1x12.json").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--students=4by312", "students"),
        ("--students=4x313", "313"),
        ("--steps=0", "steps"),
        ("--device=toaster", "device"),
    ],
)
def test_invalid_options_are_reported(benchmarks, tmp_path, argument, message):
    done = benchmarks("floor", "--teacher=2x24", argument)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())
