"""Many runs under random faults: kills, signals, a full or failing disk. They end as an undisturbed suite, bit by bit.

``HARNESS_SOAK_RUNS=200`` takes some minutes; ``HARNESS_SOAK_SEED`` chooses the faults.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.support.disk_faults import DiskFaults
from tests.support.forked_commands import ForkedCommand, set_options

METHODS = ("finetune", "logit_kd", "tinybert", "{minilm: {version: 2}}")
RUNS = int(os.environ.get("HARNESS_SOAK_RUNS", "8"))
"""Number of runs, a multiple of 4."""

SEED = int(os.environ.get("HARNESS_SOAK_SEED", "1"))

ROUNDS = 3 + RUNS // 10
"""Number of times that the suite is started with a fault, before it is started without one."""

TIMEOUT = 1800

FAULT = "HARNESS_TEST_FAULT"
"""Variable that tells a process which of its accesses to the disk fails."""


@dataclass(frozen=True)
class Fault:
    """A signal after some seconds, or an error number at an access to the disk. `codes`: how the command may end."""

    codes: tuple[int, ...]
    signal: int | None = None
    seconds: float = 0.0
    kind: str = ""
    number: int = 0
    access: int = 0


def random_fault(chance: random.Random) -> Fault:
    """Choose a fault: often an early one, sometimes one after several runs."""
    reach = chance.choice([1, 3, 10])
    match chance.choice(["kill", "terminate", "full", "write", "read"]):
        case "kill":
            return Fault((-signal.SIGKILL,), signal.SIGKILL, chance.uniform(0, 2 * reach))
        case "terminate":  # before the command has set its handler, the signal ends it at once
            return Fault((130, -signal.SIGTERM), signal.SIGTERM, chance.uniform(0, 2 * reach))
        case "full":
            return Fault((2,), kind="write", number=errno.ENOSPC, access=chance.randint(1, 60 * reach))
        case kind:
            return Fault((2,), kind=kind, number=errno.EIO, access=chance.randint(1, 60 * reach))


def inject() -> None:
    """Let an access of this process to the folder of the suite fail, as `FAULT` says."""
    fault = Fault(**json.loads(os.environ[FAULT]))
    faults = DiskFaults(Path.cwd(), fault.number, **{f"fail_{fault.kind}": fault.access})
    faults.injected(pytest.MonkeyPatch()).__enter__()


class Suite:
    """The small suite with `RUNS` runs, as commands in processes."""

    def __init__(self, small) -> None:
        self.small = small
        self.settings = (
            f"methods=[{', '.join(METHODS)}]",
            f"seeds={list(range(RUNS // len(METHODS)))}",
            "training.checkpoint_every=3",
        )

    def start(self, fault: Fault | None = None) -> ForkedCommand:
        arguments = ["run", "small.yaml", "--quiet", *set_options(self.settings)]
        environment = {"HARNESS_CACHE": str(self.small.folder / "cache")}
        if fault is None or not fault.kind:
            return ForkedCommand(arguments, self.small.folder, environment=environment)
        environment[FAULT] = json.dumps(asdict(fault))
        return ForkedCommand(arguments, self.small.folder, environment=environment, prepare=inject)

    def results(self) -> dict[str, tuple]:
        """Key -> what must be the same bits: score, losses, predictions and weights."""
        store, found = self.small.store(), {}
        for record in store.records():
            assert record.status == "completed", record.error
            folder = store.run_folder(record.key)
            files = (folder / "student" / "model.safetensors", folder / "predictions.parquet")
            found[record.key] = (record.metrics, record.losses, *(file.read_bytes() for file in files))
        return found


def endure(suite: Suite, faults: list[Fault]) -> None:
    """Start one process for each fault, all at the same time, and check how they end."""
    started = time.monotonic()
    processes = [(suite.start(fault), fault) for fault in faults]
    for process, fault in sorted(processes, key=lambda pair: pair[1].seconds):
        if fault.signal is not None:
            time.sleep(max(0.0, started + fault.seconds - time.monotonic()))
            process.send_signal(fault.signal)
    for process, fault in processes:
        code = process.wait(TIMEOUT)
        assert code in (0, *fault.codes), (fault, process.errors)
        assert "Traceback" not in process.errors, fault


@pytest.mark.slow
def test_random_faults_change_no_bit(small):
    suite, chance = Suite(small), random.Random(SEED)
    assert not small.run(*suite.settings).failed
    expected = suite.results()
    assert len(expected) == RUNS
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"undisturbed {name}")
    for _ in range(ROUNDS):
        endure(suite, [random_fault(chance) for _ in range(chance.choice([1, 1, 2]))])
    last = suite.start()
    assert last.wait(TIMEOUT) == 0, last.errors
    assert suite.results() == expected
    left = [path for name in ("results", "cache") for path in (small.folder / name).rglob("*")]
    assert [path for path in left if ".partial" in path.name or path.suffix in (".pt", ".claim")] == []
