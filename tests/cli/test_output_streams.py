"""Streams that are closed, full, whose reader has left, or whose encoding lacks characters: no traceback."""

import io
import os
import sys
from pathlib import Path

import pytest

from harness.cli import output_streams
from harness.cli.app import main
from tests.support.results_factory import fill


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Sets stdout, runs `harness report` and returns the exit code."""
    folder = fill(tmp_path / "demo").folder

    def run(stdout, *arguments):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "argv", ["harness", "report", str(folder), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return run


def test_stdout_may_be_closed(report, capfd):
    assert report(None) == 0
    assert not capfd.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--format", "csv")])
def test_the_reader_may_leave(report, capfd, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stdout:
        assert report(stdout, *arguments) == 0
    assert not capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("buffer", [16, 2**20], ids=["fails while it prints", "fails at the end"])
@pytest.mark.parametrize("arguments", [(), ("--format", "csv")])
def test_a_full_disk_behind_stdout_is_one_message(report, capfd, arguments, buffer):
    with Path("/dev/full").open("w", encoding="utf-8", buffering=buffer) as stdout:
        assert report(stdout, *arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device; " in line
    assert line.startswith("error: stdout: ") or buffer == 16  # what is not buffered cannot be tried again


def test_an_encoding_may_lack_characters(report):
    printed = io.BytesIO()
    assert report(io.TextIOWrapper(printed, encoding="ascii", write_through=True)) == 0
    assert "+/-" in printed.getvalue().decode("ascii")


def test_the_exit_code_of_a_failed_run_survives_a_reader_that_left(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with output_streams.reader_may_leave():
            print("a board")
        print("more")
        stdout.flush()
