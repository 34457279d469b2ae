"""Budgets of a report of many runs: CPU time, memory, and the size of the page."""

import json
import os
import shutil
import subprocess
import sys

from tests.support.many_results import Shape, write_many
from tests.support.patience import cheapest

RUNS = int(os.environ.get("HARNESS_SCALE_RUNS", "400"))
"""Number of runs, a multiple of 200. Try 10,000 after a change of what a report reads or draws."""

MEASURED = """
import json, resource, sys
from pathlib import Path
from harness.reporting import report

written = report(Path(sys.argv[1]))
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "megabytes": int(peak.split()[1]) / 1024,
                  "rows": len(written.board.lines), "files": len(written.files)}))
"""


def measured(folder):
    """CPU seconds and peak memory of a report in a process of its own, imports included."""
    command = [sys.executable, "-c", MEASURED, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def page_size(folder):
    return (folder / "index.html").stat().st_size


def test_a_report_of_many_runs_is_within_its_budget(tmp_path):
    """A minute and 1 GB for 10,000 runs, of which imports and what is drawn once take 15 s and 400 MB at most."""
    shape = Shape(labels=5, students=5, seeds=RUNS // 200, examples=200)
    assert shape.runs == RUNS
    write_many(tmp_path / "runs", shape)
    reports = []

    def seconds():
        folder = shutil.copytree(tmp_path / "runs", tmp_path / f"report {len(reports)}")
        reports.append((folder, measured(folder)))
        return reports[-1][1]["seconds"]

    budget = 15 + 0.0045 * RUNS
    assert cheapest(seconds, budget) < budget
    folder, used = reports[-1]
    assert used["rows"] == 1 + 1 + 25, "the teacher, the constant answer and the students"
    assert used["megabytes"] < 400 + 0.06 * RUNS
    assert page_size(folder) < 500_000 + 10 * RUNS
    assert len(list((folder / "details").iterdir())) == 8 * (1 + 25) + (1 + 25) + 8, "cells, rows, tasks"
