"""Progress events of long preparations: at the start, at the end, and at a limited rate in between."""

import pytest

from harness import hookimpl
from harness.execution import progress_events
from harness.plugin_host.host import Host


class Listener:
    def __init__(self):
        self.received = []

    @hookimpl
    def harness_preparing(self, event):
        self.received.append((event.done, event.total, event.ended))


@pytest.fixture
def observed():
    host, listener = Host(), Listener()
    host.add_observer(listener)
    return host, listener.received


def test_the_start_and_the_end_are_reported(observed):
    host, received = observed
    with progress_events.preparing(host, "rows", "rows") as tell:
        for done in range(1, 1000):
            tell(done)
    assert received[0] == (0, None, False)
    assert received[-1] == (999, None, True)
    assert len(received) < 10


def test_progress_is_reported_if_it_takes_long(observed, monkeypatch):
    host, received = observed
    monkeypatch.setattr(progress_events, "TOLD_EVERY", 0.0)
    with progress_events.preparing(host, "rows", "rows", 2) as tell:
        tell(1)
        tell(2)
    assert received == [(0, 2, False), (1, 2, False), (2, 2, False), (2, 2, True)]


def test_the_end_is_reported_after_an_exception(observed):
    host, received = observed

    def stopped():
        with progress_events.preparing(host, "rows", "rows", 9) as tell:
            tell(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert received[-1] == (4, 9, True)


def test_a_suite_reports_the_computation_of_teacher_outputs(small):
    listener = Listener()
    small.run("methods=[logit_kd]", "training.epochs=3", observers=(listener,))
    batches = listener.received[0][1]
    assert batches > 0
    assert listener.received[0] == (0, batches, False)
    assert listener.received[-1] == (batches, batches, True)
