"""Train a cohort for two steps, and print its estimated and its measured peak memory in bytes."""

import json
import sys
import threading
from pathlib import Path

from harness.planning import memory_estimate
from tests.support.full_batches import train


def resident():
    """Return the anonymous resident bytes. Mapped files are excluded: the system evicts them as needed."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024


class Peak(threading.Thread):
    """A thread that records the maximum resident memory while it runs."""

    def __init__(self):
        super().__init__()
        self.most, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.002):
            self.most = max(self.most, resident())


def main():
    """The arguments of `cohort` are in `sys.argv`, as JSON. Call it in a process of its own."""
    arguments = json.loads(sys.argv[1])
    tiny = {"teacher": [2, 16, 2, 32], "student": [2, 16, 2, 32], "batch": 2}
    train({**arguments, **tiny})  # warm up: memory of the process itself
    before, peak = resident(), Peak()
    peak.start()
    loads = train(arguments)
    peak.over.set()
    peak.join()
    print(json.dumps({"estimated": memory_estimate.peak(loads), "measured": peak.most - before}))
