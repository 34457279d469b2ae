"""Suites and stores of thousands of runs: work grows linearly, and the commands stay within their CPU budgets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import yaml

from harness.api.errors import UserError
from harness.planning import cost_estimate, memory_packing, run_status
from harness.planning.memory_estimate import CohortLoad, Load, peak
from harness.resolution import load
from harness.storage import record_files
from harness.storage.records import RunRecord, RunSummary
from harness.storage.store import Store
from tests.conftest import PLUGIN, SUITE
from tests.support.patience import cheapest
from tests.support.results_factory import failed, run_record


def steps(call: Callable[[], object]) -> int:
    """Count the lines that Python executes: a measure of work that does not depend on the machine."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def put(store: Store, *records: RunRecord) -> None:
    """Write records without syncing the disk."""
    for record in records:
        path = store.run_folder(record.key) / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=1))


def grid(count: int, offset: int = 0) -> list[RunRecord]:
    """The runs of a grid: one task, method, student and seed, many labels."""
    return [
        run_record(key=f"k{i}", label=f"kd-{i}", parts={"method": {"config": i}, "seed": 1})
        for i in range(offset, offset + count)
    ]


def plan_of(records: list[RunRecord]) -> Any:
    return SimpleNamespace(runs=[SimpleNamespace(planned=record, parts=record.parts) for record in records])


@pytest.mark.parametrize("offset", [0, 10_000], ids=["done", "changed"])
def test_the_status_of_many_records_is_linear(tmp_path, offset):
    counts = []
    for size in (40, 80):
        store = Store(tmp_path / str(size))
        put(store, *grid(size))
        counts.append(steps(lambda size=size, store=store: run_status.status(plan_of(grid(size, offset)), store)))
    assert counts[1] < 2.3 * counts[0]


def test_a_changed_run_is_compared_with_the_record_of_its_label(tmp_path):
    store = Store(tmp_path)
    put(store, *grid(60), run_record(key="old", label="mine", parts={"method": {"config": 59}, "seed": 2}))
    job = run_record(key="new", label="mine", parts={"method": {"config": 59}, "seed": 1})
    [status] = run_status.status(plan_of([job]), store)
    assert status.reason == "changed: seed: 2 -> 1"


def test_a_record_is_read_again_only_if_it_has_changed(tmp_path, monkeypatch):
    store, read = Store(tmp_path), []
    original = record_files.read_result
    monkeypatch.setattr(record_files, "read_result", lambda path, model: (read.append(path), original(path, model))[1])
    put(store, failed("sst2", "kd", "big", 1), run_record(seed=2))
    first = store.summaries()
    assert len(read) == 2
    assert store.summaries() == first
    assert len(read) == 2
    put(store, run_record())
    assert [summary.status for summary in store.summaries().values()] == ["completed", "completed"]
    assert len(read) == 3


def test_a_summary_has_the_fields_of_a_record():
    fields = RunRecord.model_fields
    assert {name: str(field.annotation) for name, field in RunSummary.model_fields.items()} == {
        name: str(fields[name].annotation) for name in RunSummary.model_fields
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "odd"}, "is not a valid RunRecord: status"),
        ({"schema_version": 99}, "schema_version is 99"),
        ({"key": "other"}, "the record has key other"),
        (None, "is not valid JSON"),
    ],
)
def test_a_broken_record_is_one_message_with_its_file(tmp_path, change, message):
    store, record = Store(tmp_path), run_record()
    put(store, record)
    path = store.run_folder(record.key) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) if change else "{")
    with pytest.raises(UserError, match=message) as raised:
        run_status.status(plan_of([]), store)
    assert raised.value.problems[0].where == str(path)


def test_packing_a_cohort_is_linear_and_its_peak_is_that_of_all_loads(small):
    plan = small.plan()
    loads: list[Load] = [plan.load(job) for job in plan.runs]

    def pack(count: int) -> int:
        return steps(lambda: memory_packing.split(loads * count, lambda load: load, 10**15))

    assert pack(80) < 2.3 * pack(40)
    for end in range(1, len(loads)):
        cohort = CohortLoad(loads[0])
        for other in loads[1:end]:
            cohort.add(other)
        assert cohort.peak_with(loads[end]) == peak(loads[: end + 1])


def test_steps_in_overlapping_intervals_count_once():
    intervals = {(0, 10), (5, 12), (12, 13), (20, 25), (21, 22)}
    union = {step for start, end in intervals for step in range(start, end)}
    assert cost_estimate._union_length(intervals) == len(union)
    assert cost_estimate._union_length(()) == 0


def test_duplicate_seeds_are_found_in_linear_time(small):
    with pytest.raises(UserError, match=r"seeds.2: duplicate value 1"):
        small.load("seeds=[1, 2, 1]")
    counts = [steps(lambda n=n: load(small.path, overrides=[f"seeds={list(range(n))}"])) for n in (10, 410, 810)]
    assert counts[2] - counts[0] < 2.3 * (counts[1] - counts[0])


def write_suite(folder: Path, tasks: int, students: int, seeds: int, temperatures: int) -> Path:
    """Write a suite with `tasks` x `students` x `seeds` x 2 `temperatures` runs."""
    folder.mkdir()
    line = next(line for line in PLUGIN.splitlines() if "register(Task(" in line)
    many = f"    for n in range({tasks}):\n    " + line.replace('"order"', 'f"order{n}"')
    (folder / "order.py").write_text(PLUGIN.replace(line, many), encoding="utf-8")
    suite = {
        **SUITE,
        "tasks": [f"order{n}" for n in range(tasks)],
        "students": {f"s{n}": {"layers": 1, "init": "random", "ffn": 32 + n} for n in range(students)},
        "seeds": list(range(seeds)),
        "methods": [
            {"logit_kd": {"grid": {"temperature": list(map(float, range(1, temperatures + 1))), "alpha": [0.3, 0.5]}}}
        ],
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


COMMAND = """
import resource, sys
from harness.cli.app import app
sys.argv[0] = "harness"
try:
    app()
finally:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print("IMPORTED", "transformers" in sys.modules, "CPU", usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""


def cpu_seconds(folder: Path, *arguments: str, without_transformers: bool = False) -> float:
    """Return the CPU seconds of a command in a process of its own, which imports transformers only if it may."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HARNESS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], env=environment, capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert not without_transformers or "IMPORTED False" in done.stderr
    return float(done.stderr.rsplit("CPU", 1)[1])


def assert_within(budget: float, start: Callable[[], float], command: Callable[[], float]) -> None:
    """Assert that a command takes less than `budget` CPU seconds more than `start`."""
    assert cheapest(lambda: command() - start(), budget) < budget


RUNS = int(os.environ.get("HARNESS_SCALE_RUNS", "800"))
"""Number of runs and records, a multiple of 400. Try 10,000 after a change of planning."""


@pytest.mark.slow
def test_many_runs_and_records_stay_within_the_cpu_budgets(tmp_path):
    """An idle machine takes half of each budget. The time to import libraries is that of a suite with two runs."""
    one, many = write_suite(tmp_path / "one", 1, 1, 1, 1), write_suite(tmp_path / "many", 4, 5, 10, RUNS // 400)
    assert_within(
        1 + 2e-4 * RUNS,
        lambda: cpu_seconds(one.parent, "validate", str(one), without_transformers=True),
        lambda: cpu_seconds(many.parent, "validate", str(many)),
    )

    from harness import planning
    from harness.resolution import resolve

    plan = planning.build(resolve(load(many), online=False))
    assert len(plan.runs) == RUNS
    store = Store(many.parent / "results" / "small")
    for job in plan.runs:
        planned = job.planned.model_dump()
        put(store, run_record().model_copy(update={**planned, "parts": job.parts}))
    planned = ("plan", str(many), "--results", str(many.parent / "results"))

    def start() -> float:
        return cpu_seconds(one.parent, "plan", str(one), "--results", str(one.parent / "none"))

    assert_within(1 + 1.4e-3 * RUNS, start, lambda: cpu_seconds(many.parent, *planned))
    # Compares each key with stored ones.
    changed = (*planned, "--set", "training.lr=0.002")
    assert_within(1 + 2e-3 * RUNS, start, lambda: cpu_seconds(many.parent, *changed))
