"""A driver of the Ray engine that was suspended, and has lost a claim of a job to another process."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.api.events import RunFinished, RunId
from harness.execution.ray_engine.mailbox import Mailbox
from harness.execution.ray_engine.messages import Ended, Message
from harness.execution.ray_engine.task_loop import TaskLoop, _Attempt
from harness.execution.ray_engine.transport import Roots
from harness.planning import graph_builder
from harness.storage.store import Store


def content(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


class FakeRay:
    """Ray without a cluster: references are the values themselves."""

    def __init__(self):
        self.cancelled = []

    def get(self, value):
        return value

    def wait(self, replies, **options):
        return [], replies

    def cancel(self, reply, **options):
        self.cancelled.append((reply, options))


def remote(mailbox):
    """The mailbox as an actor."""
    calls = {name: SimpleNamespace(remote=getattr(mailbox, name)) for name in ("post", "take", "stop")}
    return SimpleNamespace(**calls)


@pytest.fixture
def driver(small, tmp_path, request):
    """An execution with one task that builds two runs, of which another process has claimed the first.

    Or two tunings, with the parameter ``tuning``.
    """
    kind = getattr(request, "param", "cohort")
    plan = small.plan("methods=[finetune, logit_kd]", "seeds=[1]", "tuning={trials: 3}")
    (job,) = (job for job in graph_builder.build(plan, plan.runs).jobs if job.kind == kind)
    lost, held = job.artifacts
    mailbox, finished, notified = Mailbox(), [], []
    progress = SimpleNamespace(
        lost_a_claim=lambda keys: lost.key in keys,
        finish=lambda artifact, error: finished.append((artifact.key, error)),
        builders={kind: SimpleNamespace(is_done=lambda artifact: False)},
        context=SimpleNamespace(host=SimpleNamespace(notify=lambda hook, event: notified.append(event))),
    )
    tasks = SimpleNamespace(ray=FakeRay(), mailbox=remote(mailbox), roots=Roots(tmp_path / "store", tmp_path / "cache"))
    execution = TaskLoop(progress, tasks, 1)
    execution._running[7] = _Attempt(job, "reply", {artifact.key: artifact for artifact in job.artifacts})
    return SimpleNamespace(
        execution=execution, mailbox=mailbox, lost=lost, held=held, finished=finished, notified=notified, tasks=tasks
    )


def test_results_of_the_other_runs_are_stored_and_the_worker_saves_its_state(driver):
    lost, held, folder = driver.lost.key, driver.held.key, driver.tasks.roots.store
    saved = {f"store/checkpoints/{key}.pt": content(key) for key in (lost, held)}
    assert not driver.mailbox.post(Message(7, checkpoints=saved)), "nothing is known yet"
    for key in (lost, held):
        event = (
            "harness_run_finished",
            RunFinished(RunId(f"member of {key}", "order", "finetune", "1x32", 1), 0.5, {}, 1.0),
        )
        ended = Ended(key, None, {f"store/runs/{key}/record.json": content("{}")})
        driver.mailbox.post(Message(7, events=(event,), ended=ended))
    driver.execution._wait()
    assert driver.finished == [(held, None)]
    assert [event.run.key for event in driver.notified] == [f"member of {held}"]
    assert [path.name for path in (folder / "runs").iterdir()] == [held]
    assert not (folder / "checkpoints" / f"{lost}.pt").exists()
    assert driver.tasks.ray.cancelled == []
    assert driver.mailbox.post(Message(7)), "the worker is asked to stop"
    assert not driver.mailbox.post(Message(8)), "others are not"


@pytest.mark.parametrize("driver", ["tuning"], indirect=True)
def test_checkpoints_of_trials_are_kept_until_their_trials_end_elsewhere_or_their_tuning_does(driver):
    lost, held, store = driver.lost.key, driver.held.key, Store(driver.tasks.roots.store)
    trials = [store.checkpoint(trial, study) for study in (lost, held) for trial in ("ended", "running")]
    names = [driver.tasks.roots.name(path) for path in trials]
    store.trial_checkpoints(lost).mkdir(parents=True)
    (others := store.checkpoint("ended", lost)).write_bytes(b"of the other process")
    driver.mailbox.post(Message(7, checkpoints={name: content("state") for name in names}))
    driver.execution._wait()
    assert sorted(store.folder.rglob("*.pt")) == sorted([others, *trials[2:]])
    driver.mailbox.post(Message(7, removed=(names[0], names[2])))
    driver.execution._wait()
    assert sorted(store.folder.rglob("*.pt")) == sorted([others, trials[3]])
    journal = {f"store/tuning/{held}.log": content("trials")}
    driver.mailbox.post(Message(7, ended=Ended(held, None, journal)))
    driver.execution._wait()
    assert list(store.folder.rglob("*.pt")) == [others]
    assert not store.trial_checkpoints(held).exists()
    assert store.journal(held).exists()


def test_the_checkpoint_of_a_run_stays_until_its_results_arrive(driver):
    held, store = driver.held.key, Store(driver.tasks.roots.store)
    name = f"store/checkpoints/{held}.pt"
    driver.mailbox.post(Message(7, checkpoints={name: content("state")}))
    driver.mailbox.post(Message(7, removed=(name,)))
    driver.execution._wait()
    assert store.checkpoint(held).exists()
    driver.mailbox.post(Message(7, ended=Ended(held, None, {f"store/runs/{held}/record.json": content("{}")})))
    driver.execution._wait()
    assert not store.checkpoint(held).exists()


def test_a_task_that_has_not_started_is_cancelled_once(driver):
    for _ in range(2):
        driver.execution._wait()
    assert driver.tasks.ray.cancelled == [("reply", {})]
