"""Benchmark `cached`: another seed of a suite with a warm, cold or disabled cache of teacher outputs."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import device_usage
from benchmarks.device_usage import Usage
from benchmarks.measuring import Contestant, Measured, Row, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, entries, sizes
from harness import planning
from harness.execution import local_engine, teacher_cache
from harness.execution.plan_execution import PlanExecution
from harness.latency.timing_protocol import Call
from harness.plugin_host.host import Host
from harness.resolution import load, resolve
from harness.storage.records import RunRecord
from harness.storage.store import Store

CLAIM = (
    "Time of another seed of a suite on SST-2, from plan to records, with a cold cache of teacher outputs (which it"
    " fills) or without one (the teacher runs with the students), divided by the time with a warm cache. The fine-tuned"
    " teacher and the tokenized data are cached in all cases."
)
COLD, WARM, NONE = "cold", "warm", "none"
FIRST, FURTHER = 1, 2
"""Seeds: the one that fills the cache, and the timed one."""


GPU_TOLERANCE = 0.02
"""Relative difference of losses on a GPU, where kernels add in an order that differs from call to call."""


class Suite:
    """A suite of one task with its folder and store."""

    def __init__(self, folder: Path, options: Options, size: str, selected: Sequence[Entry]) -> None:
        self.path = folder / "cached.yaml"
        self.store = Store(folder / "results")
        self.host = Host.create()
        self.device = torch.device(options.device)
        self.path.write_text(yaml.safe_dump(suite_file(options, size, selected)), encoding="utf-8")

    def planned(self, seed: int, *, cache: bool = True) -> planning.Plan:
        """Delete all results of runs and plan the suite for one seed."""
        shutil.rmtree(self.store.folder / "runs", ignore_errors=True)
        overrides = [f"seeds=[{seed}]", *([] if cache else ["teacher_cache.max_gb=0"])]
        return planning.build(resolve(load(str(self.path), overrides=overrides), online=True))

    def execute(self, planned: planning.Plan) -> list[RunRecord]:
        """Run the plan and return its records. Raises `RuntimeError` if a run failed."""
        for record in PlanExecution(planned, self.store, self.host).run(local_engine.execute).failed:
            raise RuntimeError(f"{record.label}: {record.error}")
        return self.store.records()

    def warm_up(self) -> None:
        """Train the teacher and cache its outputs, unless this is done."""
        if not teacher_cache.root().exists():
            self.execute(self.planned(FIRST))

    def check(self) -> int:
        """The tokens that the students of one seed train on.

        On a GPU, a suite does not cache outputs that are computed about as fast as they are read. Runs with such
        outputs may run the teacher.

        Raises:
            RuntimeError: a run that reads cached outputs runs the teacher, no run reads any, or losses with a cold and
                a warm cache differ.
        """
        shutil.rmtree(teacher_cache.root(), ignore_errors=True)
        cold = self.execute(self.planned(FURTHER))
        planned = self.planned(FURTHER)
        warm = self.execute(planned)
        reading = {job.planned.key for job in planned.runs if job.reads_cache}
        if not reading or any(record.cost.teacher_forwards for record in warm if record.key in reading):
            raise RuntimeError(f"the teacher ran despite a warm cache: {'; '.join(map(str, planned.cache_decisions))}")
        losses = [[dict(point.terms) for record in records for point in record.losses] for records in (cold, warm)]
        if not same_losses(*losses, tolerance=0.0 if self.device.type == "cpu" else GPU_TOLERANCE):
            raise RuntimeError("losses with a cold and a warm cache differ")
        return sum(record.cost.tokens for record in warm if record.cost is not None)


def same_losses(
    ours: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]], *, tolerance: float
) -> bool:
    """Whether both have the same terms at each step, with values that differ by at most `tolerance`, relatively."""
    return len(ours) == len(others) and all(
        point.keys() == other.keys() and all(math.isclose(point[n], other[n], rel_tol=tolerance) for n in point)
        for point, other in zip(ours, others, strict=False)
    )


def suite_file(options: Options, size: str, selected: Sequence[Entry]) -> dict[str, Any]:
    """The contents of the suite file. The teacher trains for one step, because its quality does not affect speed."""
    batch, rows = options.batch, options.steps * options.batch
    return {
        "name": "cached",
        "tasks": ["sst2"],
        "sources": {"glue": options.data},
        "teachers": {"base": {"architecture": sizes(options.teacher), "epochs": 1e-6}},
        "students": {size: sizes(size)},
        "methods": [{entry.method.name: {"label": entry.label, **entry.options}} for entry in selected],
        "training": {
            "epochs": 1.0,
            "batch_size": batch,
            "max_length": options.length,
            "limit": {"train": rows, "validation": batch},
            "checkpoint_every": None,
            "precision": options.precision,
        },
        "device": options.device,
    }


def rows(times: Times, name: str) -> list[Row]:
    """The rows of one suite."""
    return [
        Row(what=f"{name}: {other} / warm", ratios=ratios(times, [f"{name}: {other}"], [f"{name}: {WARM}"]))
        for other in (COLD, NONE)
    ]


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    times, table, several = dict[str, list[int]](), list[Row](), entries()[: options.runs]
    usage: dict[str, Usage] = {}
    for size in options.students:
        for description, selected in {"1 run on logits": several[:1], f"{len(several)} runs": several}.items():
            name = f"{options.teacher} -> {size}, {description}"
            say(name)
            with _temporary_cache() as folder:
                suite = Suite(folder, options, size, selected)
                tokens, competing = suite.check(), contestants(suite, name)
                times |= interleaved(competing, options, say=say)
                usage |= device_usage.of(competing, {f"{name}: {WARM}": tokens}, suite.device)
            table += rows(times, name)
    return Measured(CLAIM, table, times, usage=usage)


def contestants(suite: Suite, name: str) -> dict[str, Contestant]:
    """The same seed with each state of the cache, by name."""

    def cold() -> Call:
        shutil.rmtree(teacher_cache.root(), ignore_errors=True)
        return partial(suite.execute, suite.planned(FURTHER))

    def warm() -> Call:
        suite.warm_up()
        return partial(suite.execute, suite.planned(FURTHER))

    def none() -> Call:
        return partial(suite.execute, suite.planned(FURTHER, cache=False))

    return {f"{name}: {COLD}": cold, f"{name}: {WARM}": warm, f"{name}: {NONE}": none}


@contextmanager
def _temporary_cache() -> Iterator[Path]:
    """A temporary folder that also contains the cache of the harness."""
    before = os.environ.get("HARNESS_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE"] = str(Path(folder) / "cache")
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["HARNESS_CACHE"]
            else:
                os.environ["HARNESS_CACHE"] = before
