"""Many processes contend for a few claims, while processes are killed and suspended at random moments."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.execution import claim_files
from tests.support.claim_workers import Log, check, count_of
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


class Workers:
    """Running workers, which the test starts, kills and suspends."""

    def __init__(self, folder, *, expiry, interval, rounds, targets):
        self.folder, self.rounds, self.targets = folder, rounds, targets
        arguments = map(str, (folder, expiry, interval, rounds, *targets))
        command = [sys.executable, "-m", "tests.support.claim_workers", *arguments]
        self.parent = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.log = Log(folder)
        self.running = []
        self.killed = set()
        self.suspended = {}

    def start(self, machine="here"):
        self.parent.stdin.write(f"{machine}\n")
        self.parent.stdin.flush()
        self.running.append(int(self.parent.stdout.readline()))

    def choose(self, chance):
        """Choose a process that is not suspended; mostly one that holds a claim."""
        active = [process for process in self.running if process not in self.suspended]
        owners = self.owners_of_remaining_claims().intersection(active) if chance.random() < 0.8 else None
        return chance.choice(sorted(owners or active))

    def kill(self, process):
        self.running.remove(process)
        self.killed.add(process)
        self.log.add("kill", process)
        os.kill(process, signal.SIGKILL)

    def suspend(self, process, seconds):
        os.kill(process, signal.SIGSTOP)
        self.log.add("stop", process)
        self.suspended[process] = time.monotonic() + seconds

    def resume(self, by=math.inf):
        """Resume the processes whose suspension ends before the time `by`."""
        for process in [process for process, end in self.suspended.items() if end < by]:
            del self.suspended[process]
            os.kill(process, signal.SIGCONT)

    def done(self):
        return all(count_of(self.folder / target) >= self.rounds for target in self.targets)

    def owners_of_remaining_claims(self):
        return {entry.owner.process for _, entry in claim_files.remaining(self.folder)}

    def wait(self):
        """Wait until all remaining workers have ended."""
        limit = time.monotonic() + PATIENCE
        while not {line.process for line in self.log.lines() if line.event == "end"}.issuperset(self.running):
            assert time.monotonic() < limit, "a worker waits for a claim that does not expire"
            time.sleep(0.05)
        self.running.clear()

    def close(self):
        for process in self.running:
            os.kill(process, signal.SIGKILL)
        self.parent.kill()
        self.parent.communicate()


@pytest.fixture
def workers(tmp_path):
    started = []

    def start(**settings):
        started.append(Workers(tmp_path, **settings))
        return started[0]

    yield start
    for each in started:
        each.close()


def test_killed_processes_are_replaced_and_no_two_hold_one_claim(tmp_path, workers):
    """A claim expires after a minute: each one that is taken over here was found to be of an ended process."""
    targets, chance = ["a", "b", "c"], random.Random(1)
    group = workers(expiry=60, interval=0.5, rounds=50, targets=targets)
    for _ in range(6):
        group.start()
    while not group.done():
        time.sleep(chance.uniform(0, 0.04))
        group.kill(group.choose(chance))
        group.start()
    group.wait()
    found = check(group.log.lines(), suspension=60)
    assert group.done()
    assert not found.overlaps
    assert not found.repeated
    assert found.taken_over["killed"]
    assert group.owners_of_remaining_claims() <= group.killed


@pytest.mark.slow
def test_suspended_and_killed_processes_of_two_machines(tmp_path, workers):
    """Claims of the other machine expire without a heartbeat, those of a suspended process as well."""
    # A busy machine can keep a process from renewing its claims for a second, which counts as a suspension.
    expiry, targets, chance = 2.0, ["a", "b", "c", "d"], random.Random(2)
    group = workers(expiry=expiry, interval=0.05, rounds=300, targets=targets)
    for number in range(8):
        group.start("here" if number % 2 else "there")
    end = time.monotonic() + 15
    while time.monotonic() < end:
        time.sleep(chance.uniform(0, 0.15))
        group.resume(time.monotonic())
        process = group.choose(chance)
        if chance.random() < 0.2:
            group.kill(process)
            group.start(chance.choice(["here", "there"]))
        elif len(group.suspended) < 5:
            group.suspend(process, chance.uniform(0, 2 * expiry))
    group.resume()
    group.wait()
    found = check(group.log.lines(), suspension=expiry / 2)
    assert group.done()
    assert not found.overlaps
    assert found.taken_over["killed"]
    assert found.taken_over["suspended"]
    assert group.owners_of_remaining_claims() <= group.killed
