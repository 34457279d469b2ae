"""Waiting for the lock of another process ends when the process is asked to stop."""

import threading

import pytest
from filelock import FileLock

from harness.execution import teacher_runs
from harness.execution.signals import Interrupted, locked


def test_a_lock_is_acquired_when_the_other_holder_releases_it(tmp_path):
    other, entered = FileLock(f"{tmp_path / 'target'}.lock", thread_local=False), []
    other.acquire()
    threading.Timer(0.2, lambda: other.release()).start()
    with locked(tmp_path / "target", lambda: False):
        entered.append(True)
        with pytest.raises(Interrupted), locked(tmp_path / "target", lambda: True):
            entered.append(True)
    assert entered == [True]


def test_a_stop_ends_the_wait_for_a_teacher_of_another_process(small):
    (job,) = small.plan().teachers
    target = teacher_runs.folder(job)
    target.parent.mkdir(parents=True)
    with FileLock(f"{target}.lock"), pytest.raises(Interrupted):
        teacher_runs.fine_tune(job, lambda: [], small.context(lambda: True))
    assert not teacher_runs.is_kept(job)
