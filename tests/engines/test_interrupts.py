"""Waiting for another process ends when one is told to stop, whatever is waited for."""

import threading

import pytest
from filelock import FileLock

from harness.engines import teachers
from harness.engines.interrupts import Interrupted, locked
from harness.host import Host


def test_who_waits_is_let_in_when_the_other_is_done(tmp_path):
    other, entered = FileLock(f"{tmp_path / 'target'}.lock", thread_local=False), []
    other.acquire()
    threading.Timer(0.2, lambda: other.release()).start()
    with locked(tmp_path / "target", lambda: False):
        entered.append(True)
        with pytest.raises(Interrupted), locked(tmp_path / "target", lambda: True):
            entered.append(True)
    assert entered == [True]


def test_a_teacher_that_another_process_trains_is_not_waited_for_after_a_stop(small):
    (job,) = small.plan().teachers
    target = teachers.folder(job)
    target.parent.mkdir(parents=True)
    options = {"host": Host.create(), "device": "cpu", "trust_remote_code": False}
    with FileLock(f"{target}.lock"), pytest.raises(Interrupted):
        teachers.fine_tune(job, lambda: [], stop=lambda: True, **options)
    assert not teachers.is_kept(job)
