"""A further seed of a suite with the teacher's tensors kept, over one that has to make them; by the engine itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring import Contestant, Measured, Row, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, entries, sizes
from harness import planning
from harness.execution import local_engine, teacher_cache
from harness.latency.timing_protocol import Call
from harness.plugin_host.host import Host
from harness.resolution import load, resolve
from harness.storage.records import RunRecord
from harness.storage.store import Store

CLAIM = (
    "Time of a further seed of a suite on SST-2's real lengths, from its plan to its records, with a cold cache of"
    " teacher tensors (which it fills) or with none (the teacher runs beside the students), over that with a warm one."
    " The fine-tuned teacher and the tokens are in the cache throughout."
)
COLD, WARM, NONE = "cold", "warm", "none"
FIRST, FURTHER = 1, 2
"""Seeds: the one that fills the cache, and the one that is timed."""


class Suite:
    """A suite of one task in a folder of its own, and its store."""

    def __init__(self, folder: Path, options: Options, size: str, chosen: Sequence[Entry]) -> None:
        self.path = folder / "cached.yaml"
        self.store = Store(folder / "results")
        self.host = Host.create()
        self.path.write_text(yaml.safe_dump(described(options, size, chosen)), encoding="utf-8")

    def planned(self, seed: int, *, keep: bool = True) -> planning.Plan:
        """Without results of runs, as if they had never been."""
        shutil.rmtree(self.store.folder / "runs", ignore_errors=True)
        overrides = [f"seeds=[{seed}]", *([] if keep else ["teacher_cache.max_gb=0"])]
        return planning.build(resolve(load(str(self.path), overrides=overrides), online=True))

    def execute(self, planned: planning.Plan) -> list[RunRecord]:
        """The records of its runs. Raises `RuntimeError` where one failed."""
        for record in local_engine.execute(planned, self.store, self.host).failed:
            raise RuntimeError(f"{record.label}: {record.error}")
        return self.store.records()

    def warmed(self) -> None:
        """The teacher is trained, and its tensors are kept."""
        if not teacher_cache.root().exists():
            self.execute(self.planned(FIRST))

    def check(self) -> None:
        """Raises `RuntimeError` if a further seed runs the teacher, or gives other results with a warm cache."""
        shutil.rmtree(teacher_cache.root(), ignore_errors=True)
        cold = self.execute(self.planned(FURTHER))
        planned = self.planned(FURTHER)
        warm = self.execute(planned)
        if any(record.cost.teacher_forwards for record in warm):
            raise RuntimeError(f"the teacher ran beside a warm cache: {'; '.join(map(str, planned.choices))}")
        if [record.losses for record in cold] != [record.losses for record in warm]:
            raise RuntimeError("losses with a cold cache and a warm one differ")


def described(options: Options, size: str, chosen: Sequence[Entry]) -> dict[str, Any]:
    """The suite file. Its teacher takes one step: what it has learnt changes no speed."""
    batch, rows = options.batch, options.steps * options.batch
    return {
        "name": "cached",
        "tasks": ["sst2"],
        "sources": {"glue": options.data},
        "teachers": {"base": {"architecture": sizes(options.teacher), "epochs": 1e-6}},
        "students": {size: sizes(size)},
        "methods": [{entry.method.name: {"label": entry.label, **entry.options}} for entry in chosen],
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
    """Of one suite."""
    return [
        Row(what=f"{name}: {other} / warm", ratios=ratios(times, [f"{name}: {other}"], [f"{name}: {WARM}"]))
        for other in (COLD, NONE)
    ]


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    times, found, several = dict[str, list[int]](), list[Row](), entries()[: options.runs]
    for size in options.students:
        for what, chosen in {"1 run on logits": several[:1], f"{len(several)} runs": several}.items():
            name = f"{options.teacher} -> {size}, {what}"
            say(name)
            with _own_cache() as folder:
                suite = Suite(folder, options, size, chosen)
                suite.check()
                times |= interleaved(contestants(suite, name), options, say=say)
            found += rows(times, name)
    return Measured(CLAIM, found, times)


def contestants(suite: Suite, name: str) -> dict[str, Contestant]:
    """The same seed with each state of the cache."""

    def cold() -> Call:
        shutil.rmtree(teacher_cache.root(), ignore_errors=True)
        return partial(suite.execute, suite.planned(FURTHER))

    def warm() -> Call:
        suite.warmed()
        return partial(suite.execute, suite.planned(FURTHER))

    def none() -> Call:
        return partial(suite.execute, suite.planned(FURTHER, keep=False))

    return {f"{name}: {COLD}": cold, f"{name}: {WARM}": warm, f"{name}: {NONE}": none}


@contextmanager
def _own_cache() -> Iterator[Path]:
    """A folder, and the harness's cache in it."""
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
