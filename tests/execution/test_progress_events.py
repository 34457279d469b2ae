"""Long work that runs wait for tells how far it is: at its beginning, at its end, and not too often between."""

import pytest

from harness import hookimpl
from harness.execution import progress_events
from harness.plugin_host.host import Host


class Listener:
    def __init__(self):
        self.heard = []

    @hookimpl
    def harness_preparing(self, event):
        self.heard.append((event.done, event.total, event.ended))


@pytest.fixture
def told():
    host, listener = Host(), Listener()
    host.add_observer(listener)
    return host, listener.heard


def test_beginning_and_end(told):
    host, heard = told
    with progress_events.preparing(host, "rows", "rows") as tell:
        for done in range(1, 1000):
            tell(done)
    assert heard[0] == (0, None, False)
    assert heard[-1] == (999, None, True)
    assert len(heard) < 10


def test_between_if_it_takes_long(told, monkeypatch):
    host, heard = told
    monkeypatch.setattr(progress_events, "TOLD_EVERY", 0.0)
    with progress_events.preparing(host, "rows", "rows", 2) as tell:
        tell(1)
        tell(2)
    assert heard == [(0, 2, False), (1, 2, False), (2, 2, False), (2, 2, True)]


def test_the_end_is_told_if_it_breaks_off(told):
    host, heard = told

    def stopped():
        with progress_events.preparing(host, "rows", "rows", 9) as tell:
            tell(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert heard[-1] == (4, 9, True)


def test_a_suite_tells_of_the_teachers_tensors(small):
    listener = Listener()
    small.run("methods=[logit_kd]", "training.epochs=3", observers=(listener,))
    batches = listener.heard[0][1]
    assert batches > 0
    assert listener.heard[0] == (0, batches, False)
    assert listener.heard[-1] == (batches, batches, True)
