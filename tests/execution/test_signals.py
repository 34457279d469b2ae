"""A signal ends the wait for another process."""

import os
import signal

from harness import hookimpl
from harness.execution import teacher_runs
from harness.execution.claims import Claims


class StopsWaiting:
    """Sends SIGTERM to this process when it begins to wait, and records what it waits for."""

    def __init__(self):
        self.events = []

    @hookimpl
    def harness_waiting(self, event):
        self.events.append(event)
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_the_wait_for_another_process(small):
    (job,) = small.plan().teachers
    observer = StopsWaiting()
    with Claims() as other:
        assert other.take(teacher_runs.cached(job).path, "teacher base on order")
        outcome = small.run("seeds=[1]", observers=(observer,))
    assert outcome.interrupted
    ((what, process),) = [(event.what, event.owner_process) for event in observer.events]
    assert (what, process) == ("teacher base on order", os.getpid())
    assert small.store().teachers() == []
    assert not small.run("seeds=[1]").failed
