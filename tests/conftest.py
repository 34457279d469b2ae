"""A small suite: a task from a plugin, a teacher trained from scratch, students of one layer."""

import atexit
import gc
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from harness.storage import derived_values
from tests.support.suite_files import suite_problems, write
from tests.support.training_world import world

__all__ = ["small", "suite_problems", "world", "write"]

# Hypothesis measures wall time, so on a busy machine its time limits fail tests of correct code.
settings.register_profile("kd-harness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kd-harness")


@pytest.fixture
def settled_files(monkeypatch):
    """Files count as settled at once, so that values that are derived from them are cached."""
    monkeypatch.setattr(derived_values, "SETTLED", -3600.0)
    derived_values._code_of.cache_clear()
    yield
    derived_values._code_of.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the garbage collector visit what tests create, and not the million objects of modules and collected tests.

    It runs rarely: nearly everything is freed when its last reference goes.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


PLUGIN = '''
"""Sentences of ten words; the label says whether a bright word comes before a dark one."""

import random

from harness import hookimpl
from harness.api.task import Splits, Task

WORDS = ["sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song"]


def examples(count, seed):
    from datasets import Dataset

    rng = random.Random(seed)
    rows = [rng.sample(WORDS, rng.randint(4, 9)) for _ in range(count)]
    positions = [[row.index(w) if w in row else 99 for w in ("sun", "night")] for row in rows]
    labels = [int(bright < dark) for bright, dark in positions]
    ids = [str(i) for i in range(count)]
    return Dataset.from_dict({"id": ids, "text": [" ".join(row) for row in rows], "label": labels})


def load(source):
    return Splits(examples(120, 1), {"validation": examples(60, 2)})


@hookimpl
def harness_register_tasks(register):
    labels = ("dark", "bright")
    register(Task("order", "classification", load, ("accuracy",), "accuracy", labels=labels, synthetic=True))
'''

SUITE = {
    "name": "small",
    "plugins": ["order.py"],
    "tasks": ["order"],
    "teachers": {"base": {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}, "epochs": 1, "lr": 1e-3}},
    "students": {"1x32": {"layers": 1, "init": "uniform"}},
    "methods": ["finetune", "logit_kd", "tinybert"],
    "seeds": [1, 2],
    "training": {"epochs": 1, "batch_size": 16, "lr": 1e-3, "max_length": 16, "log_every": 5},
}


class SmallSuite:
    """A suite file in `folder`, with methods that load, plan and run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "small.yaml"
        (folder / "order.py").write_text(PLUGIN, encoding="utf-8")
        self.path.write_text(yaml.safe_dump(SUITE), encoding="utf-8")

    def load(self, *overrides: str, plugins: tuple = ()):
        from harness.resolution import load

        return load(self.path, overrides=overrides, plugins=plugins)

    def plan(self, *overrides: str, plugins: tuple = ()):
        from harness import planning
        from harness.resolution import resolve

        return planning.build(resolve(self.load(*overrides, plugins=plugins), online=False))

    def store(self):
        from harness.storage.store import Store

        return Store(self.folder / "results" / "small")

    def context(self, stop=lambda: False):
        """What jobs need of this process, without plugins."""
        import torch

        from harness.execution.claims import Claims
        from harness.execution.context import JobContext
        from harness.plugin_host.host import Host

        return JobContext(self.store(), Host(), torch.device("cpu"), False, Claims(), stop)

    def run(self, *overrides: str, plugins: tuple = (), observers: tuple = (), options=None):
        from harness import planning
        from harness.execution import local_engine
        from harness.execution.plan_execution import PlanExecution
        from harness.resolution import resolve

        loaded = self.load(*overrides, plugins=plugins)
        planned = planning.build(resolve(loaded, online=False))
        for observer in observers:
            loaded.host.add_observer(observer)
        self.store().save_plan(planned.file("harness run small.yaml"))
        return PlanExecution(planned, self.store(), loaded.host, options).run(local_engine.execute)

    def finished(self, *overrides: str, plugins: tuple = ()) -> None:
        """Leave the folder as `run` leaves it. Tests that begin in the same way share one run and get copies of it.

        For tests of what comes after: nothing is changed in this process, and no observer is called.
        """
        assert not (self.folder / "results").exists()
        files = {path.relative_to(self.folder): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        named = tuple(str(Path(plugin).relative_to(self.folder)) for plugin in plugins)
        key = (overrides, named, frozenset(files.items()))
        if key not in _FINISHED:
            assert not self.run(*overrides, plugins=plugins).failed
            _FINISHED[key] = _copies() / str(len(_FINISHED))
            for name in ("results", "cache"):
                shutil.copytree(self.folder / name, _FINISHED[key] / name)
        else:
            shutil.copytree(_FINISHED[key], self.folder, dirs_exist_ok=True)


_FINISHED: dict[tuple, Path] = {}
"""Overrides, plugins and files of a suite -> a copy of its results and its cache."""


@cache
def _copies() -> Path:
    """A folder that is removed at the end of the process."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def pytest_runtest_setup(item):
    """Skip tests with the marker `gpu` without one. All have this place, so the summary counts them in one line."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture
def small(tmp_path, monkeypatch) -> SmallSuite:
    """The small suite in a temporary folder, with an empty cache. It does not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return SmallSuite(tmp_path)
