"""Faults of workers and of the driver's machine in the driver of the Ray engine."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from harness.api.engine import Interrupted
from harness.api.errors import UserError
from harness.execution.device_faults import DeviceError
from harness.execution.ray_engine import worker
from harness.execution.ray_engine.mailbox import Mailbox
from harness.execution.ray_engine.messages import Assignment, Message, Reply
from harness.execution.ray_engine.task_loop import MOST_DEATHS, TaskLoop
from harness.execution.ray_engine.transport import Roots
from harness.planning import graph_builder
from harness.storage.disk_errors import DiskError
from harness.storage.store import Store

ray = pytest.importorskip("ray")

BROKEN = (
    "this process cannot use its GPU any more (CUDA error: device-side assert triggered), noticed in order logit_kd"
    " 1x32 seed 1: step 3 (only): AcceleratorError: CUDA error: device-side assert triggered. Check the card with"
    " nvidia-smi"
)


def raised_in_a_task(cause):
    """What `ray.get` raises on the driver's machine after `cause` was raised in a task."""
    error = ray.exceptions.RayTaskError("work", "Traceback ...", cause, proctitle="work", pid=1, ip="127.0.0.1")
    return ray.exceptions.RayError.from_bytes(error.to_bytes()).as_instanceof_cause()


class Workers:
    """Ray and tasks without a cluster. A task ends at once with what `end` returns for its artifacts.

    With None it continues until it is asked to stop, and posts a checkpoint of its first artifact then.
    """

    def __init__(self, end, roots):
        self.exceptions, self.ray, self.roots = ray.exceptions, self, roots
        self.end, self.actor, self.started = end, Mailbox(), []
        calls = {name: SimpleNamespace(remote=getattr(self.actor, name)) for name in ("post", "take", "stop")}
        self.mailbox = SimpleNamespace(**calls)

    def start(self, number, job, artifacts):
        self.started.append([artifact.key for artifact in artifacts])
        self.actor.post(Message(number))
        return number

    def wait(self, replies, **options):
        ended = [number for number in replies if self.end(self.started[number]) is not None]
        for number in set(replies) - set(ended):
            name = f"store/checkpoints/{self.started[number][0]}.pt"
            if self.actor.post(Message(number, checkpoints={name: np.frombuffer(b"state", dtype=np.uint8)})):
                ended.append(number)
        return ended, []

    def get(self, value):
        if not isinstance(value, int):
            return value
        end = self.end(self.started[value]) or Reply()
        if isinstance(end, Exception):
            raise end
        return end

    def send(self, names):
        assert not names


class Progress:
    """The progress of jobs of which no other process builds anything."""

    def __init__(self, jobs):
        self.jobs, self.ended, self.finished, self.claimed = jobs, set(), {}, set()
        self.builders = {}

    def ready(self):
        self.ended = {job.key for job in self.jobs if not self._missing(job)}
        return [job for job in self.jobs if job.key not in self.ended]

    def _missing(self, job):
        return [artifact for artifact in job.artifacts if artifact.key not in self.finished]

    def take(self, job, *, shared):
        taken = [artifact for artifact in self._missing(job) if artifact.key not in self.claimed]
        self.claimed |= {artifact.key for artifact in taken}
        return taken

    def finish(self, artifact, error):
        self.finished[artifact.key] = error
        self.release([artifact.key])

    def release(self, keys):
        self.claimed -= set(keys)

    def lost_a_claim(self, keys):
        return False

    def stop(self):
        return False


@pytest.fixture
def engine(small, tmp_path):
    """Makes the loop of an engine with three workers for two cohorts, each of two runs. See `Workers` for `end`."""
    plan = small.plan("methods=[finetune, logit_kd]", "seeds=[1, 2]")
    jobs = [job for job in graph_builder.build(plan, plan.runs).jobs if job.kind == "cohort"]
    assert [len(job.artifacts) for job in jobs] == [2, 2]
    progress = Progress(jobs)

    def make(end):
        roots = Roots(tmp_path / "store", tmp_path / "cache")
        return TaskLoop(progress, Workers(end, roots), 3), progress, [[a.key for a in job.artifacts] for job in jobs]

    return make


def test_a_worker_raises_what_the_driver_continues_and_replies_what_it_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(worker._loaded, b"payload", ((None, {}, []), None))
    assignment = Assignment(1, "cohort", (), 1, 1.0, "mark", {}, {}, {}, {})

    def failing(error):
        def execute(*args):
            raise error

        monkeypatch.setattr(worker, "_execute", execute)
        return worker.work(b"payload", worker.versions(), assignment, None)

    assert failing(DiskError("disk full")).errors == ("disk full",)
    with pytest.raises(DeviceError, match="noticed in order logit_kd"):
        failing(DeviceError(BROKEN))


def test_a_job_whose_worker_cannot_use_its_gpu_is_continued_by_another_one(engine, caplog):
    """A run that breaks each GPU fails alone, after as many attempts as one that kills its worker."""
    bad, attempts = [], []

    def end(keys):
        return raised_in_a_task(DeviceError(BROKEN)) if set(bad) & set(keys) else Reply()

    def finished(job, part):  # the fake worker has built all
        for artifact in part:
            if artifact.key not in bad:
                progress.finish(artifact, None)

    loop, progress, cohorts = engine(end)
    bad.append(cohorts[0][1])
    submit = loop._submit

    def submitted(job, part):
        attempts.append([artifact.key for artifact in part])
        submit(job, part)
        if not set(bad) & set(attempts[-1]):
            finished(job, part)

    loop._submit = submitted
    loop.execute()
    assert [keys for keys in attempts if bad[0] in keys] == [cohorts[0], cohorts[0], bad]
    assert progress.finished.keys() == {*cohorts[0], *cohorts[1]}
    error = progress.finished.pop(bad[0])
    assert set(progress.finished.values()) == {None}
    assert error == f"its worker died {MOST_DEATHS} times; the last time: {BROKEN}"
    assert caplog.text.count("noticed in order logit_kd 1x32 seed 1") == MOST_DEATHS


@pytest.mark.parametrize("fault", ["a worker", "the driver"])
def test_a_fault_of_a_machine_lets_the_other_workers_save_their_states(engine, fault):
    calls, cohorts = [], []

    def end(keys):
        return Reply(errors=("disk full",)) if fault == "a worker" and keys == cohorts[0] else None

    loop, progress, keys = engine(end)
    cohorts += keys
    ready = progress.ready

    def failing():
        calls.append("ready")
        if fault == "the driver" and len(calls) == 3:
            raise DiskError("disk full")
        return ready()

    progress.ready = failing
    with pytest.raises(UserError, match="disk full"):
        loop.execute()
    store = Store(loop.tasks.roots.store)
    stopped = cohorts[1:] if fault == "a worker" else cohorts
    assert {path.stem for path in (store.folder / "checkpoints").iterdir()} >= {keys[0] for keys in stopped}
    assert loop._running == {}
    assert progress.finished == {}


@pytest.mark.parametrize("error", [Interrupted(), DiskError("the first")], ids=["interrupted", "a fault"])
def test_all_workers_have_ended_when_several_of_them_fail(engine, error):
    """Each of them ends with the same error as the driver, or when it is asked to stop."""
    stopping = []

    def end(keys):
        return Reply(errors=("a full disk",)) if stopping else None

    loop, progress, _ = engine(end)
    ready = progress.ready

    def failing():
        if len(loop._running) == 2:
            stopping.append(True)
            raise error
        return ready()

    progress.ready = failing
    with pytest.raises(UserError, match="a full disk" if isinstance(error, Interrupted) else "the first"):
        loop.execute()
    assert loop._running == {}


def test_claims_that_cannot_be_released_do_not_end_the_wait_for_other_workers(engine):
    """As after the disk was mounted for reading only."""
    loop, progress, _ = engine(lambda keys: None)
    ready, released = progress.ready, []

    def failing():
        if loop._running:
            raise DiskError("the first")
        return ready()

    def release(keys):
        released.append(set(keys))
        raise OSError(errno.EROFS, "Read-only file system")

    progress.ready, progress.release = failing, release
    with pytest.raises(DiskError, match="the first"):
        loop.execute()
    assert loop._running == {}
    assert len(released) == 2


def test_a_worker_that_dies_while_it_stops_is_no_death_of_its_runs(engine, caplog):
    stopping = []

    def end(keys):
        return ray.exceptions.WorkerCrashedError() if stopping else None

    loop, progress, _ = engine(end)
    loop._deaths.update({(artifact.key, 0): MOST_DEATHS - 1 for job in progress.jobs for artifact in job.artifacts})
    loop.workers, ready = 5, progress.ready  # each run is alone after so many deaths

    def failing():
        if loop._running:
            stopping.append(True)
            raise DiskError("disk full")
        return ready()

    progress.ready = failing
    with pytest.raises(DiskError):
        loop.execute()
    assert progress.finished == {}
    assert "died" not in caplog.text


@pytest.mark.parametrize(("workers", "looks"), [(2, 2), (3, 8)])
def test_the_driver_does_not_look_for_jobs_while_all_workers_are_busy(engine, workers, looks):
    """It reads files, perhaps over a network."""
    waits, calls = [], []
    loop, progress, _ = engine(lambda keys: None)
    loop.workers, progress.stop, ready, wait = workers, lambda: len(waits) >= 7, progress.ready, loop._wait

    def counted():
        calls.append("ready")
        if progress.stop():
            raise Interrupted
        return ready()

    def waited():
        waits.append("wait")
        wait()

    progress.ready, loop._wait = counted, waited
    with pytest.raises(Interrupted):
        loop.execute()
    assert len(calls) == looks
