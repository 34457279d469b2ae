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
def driver(small, tmp_path):
    """An execution with one task that builds two runs, of which another process has claimed the first."""
    plan = small.plan("methods=[finetune, logit_kd]", "seeds=[1]")
    (job,) = (job for job in graph_builder.build(plan, plan.runs).jobs if job.kind == "cohort")
    lost, held = job.artifacts
    mailbox, finished, notified = Mailbox(), [], []
    progress = SimpleNamespace(
        lost_a_claim=lambda keys: lost.key in keys,
        finish=lambda artifact, error: finished.append((artifact.key, error)),
        builders={"cohort": SimpleNamespace(is_done=lambda artifact: False)},
        context=SimpleNamespace(host=SimpleNamespace(notify=lambda hook, event: notified.append(event))),
    )
    tasks = SimpleNamespace(ray=FakeRay(), mailbox=remote(mailbox), roots=Roots(tmp_path / "store", tmp_path / "cache"))
    execution = TaskLoop(progress, tasks, 1, lambda: False)
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


def test_a_task_that_has_not_started_is_cancelled_once(driver):
    for _ in range(2):
        driver.execution._wait()
    assert driver.tasks.ray.cancelled == [("reply", {})]
