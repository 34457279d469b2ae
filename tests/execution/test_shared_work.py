"""Processes that share a results folder and a cache share the work, also if some of them are killed."""

import json
import random
import shutil
import signal
import time
from collections import Counter

import pytest
import torch

from harness.reporting import report
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.held_commands import Hold
from tests.support.patience import PATIENCE
from tests.support.student_weights import student_weights

LONG = ("seeds=[1, 2, 3]", "training.epochs=8", "training.checkpoint_every=10")
KILLED = ("seeds=[1, 2]", "training.epochs=6", "training.checkpoint_every=10")
KILLS = 4


class Shell:
    """A `harness run` process. Its JSON lines are written to a file."""

    def __init__(self, small, number, *overrides, plugins=(), **environment):
        self.log = small.folder / f"log {number}.jsonl"
        arguments = ["run", "small.yaml", "--json-logs", *set_options(overrides)]
        arguments += [argument for plugin in plugins for argument in ("--plugin", plugin)]
        self.process = ForkedCommand(arguments, small.folder, environment=environment, stdout=self.log)

    def wait(self):
        return self.process.wait(PATIENCE), self.process.errors

    def events(self):
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}\n")]  # the last one may be written just now

    def first(self, name):
        """Wait for an event of this name. Returns the first one."""
        limit = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            if found := [event for event in self.events() if event["event"] == name]:
                return found[0]
            assert not ended, f"it ended without the event {name}: {self.process.errors}"
            assert time.monotonic() < limit, f"no event {name} in {PATIENCE} s: {self.process.errors}"
            time.sleep(0.1)


def finished(shells, role="student"):
    """How often each run was completed, over all processes."""
    events = [event for shell in shells for event in shell.events() if event["event"] == "run_finished"]
    return Counter(event["run"]["key"] for event in events if event["run"]["role"] == role)


def weights(store):
    return {record.key: (record.score, student_weights(store, record.key)) for record in store.records()}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for key, (score, tensors) in expected.items():
        assert actual[key][0] == score
        assert all(torch.equal(actual[key][1][name], tensor) for name, tensor in tensors.items())


def move_away(small):
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")


def test_two_processes_train_each_run_once(small):
    """Started as `srun -n 2` starts them: `--workers` is SLURM_NTASKS."""
    small.run("seeds=[1, 2]")
    expected = weights(small.store())
    move_away(small)
    shells = [Shell(small, number, "seeds=[1, 2]", SLURM_NTASKS="2", SLURM_PROCID=str(number)) for number in range(2)]
    assert [shell.wait()[0] for shell in shells] == [0, 0]
    assert_same(weights(small.store()), expected)
    assert finished(shells) == Counter(dict.fromkeys(expected, 1))
    assert list(finished(shells, "teacher").values()) == [1]
    assert (small.store().folder / "leaderboard.md").exists()
    assert not list(small.folder.rglob("*.claim"))


def test_two_processes_train_a_chain_of_teachers_once(small):
    """One of them waits for the students that the other one trains, and then learns from them."""
    chain = (
        "students.2x32={layers: 2, init: uniform}",
        "teachers.medium={row: ta}",
        "methods=[{logit_kd: {label: ta, students: [2x32]}},"
        " {logit_kd: {label: last, students: [1x32], teachers: [medium]}}]",
    )
    small.run(*chain)
    expected = weights(small.store())
    move_away(small)
    shells = [Shell(small, number, *chain) for number in range(2)]
    assert [shell.wait()[0] for shell in shells] == [0, 0]
    assert_same(weights(small.store()), expected)
    assert finished(shells) == Counter(dict.fromkeys(expected, 1))
    assert not list(small.folder.rglob("*.claim"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_four_processes_under_random_kills_train_each_run_once(small, seed):
    small.run(*KILLED)
    expected = weights(small.store())
    move_away(small)
    rng = random.Random(seed)
    running = [Shell(small, number, *KILLED) for number in range(4)]
    shells, kills = list(running), 0
    deadline = time.monotonic() + PATIENCE
    while kills < KILLS and time.monotonic() < deadline:
        time.sleep(rng.uniform(0.5, 3))
        alive = [shell for shell in running if shell.process.poll() is None]
        if not alive:
            break
        victim = rng.choice(alive)
        victim.process.kill()
        running[running.index(victim)] = shell = Shell(small, len(shells), *KILLED)
        shells.append(shell)
        kills += 1
    ends = [shell.wait() for shell in running]
    assert [code for code, _ in ends] == [0] * 4, ends
    assert kills > 0
    assert_same(weights(small.store()), expected)
    # A process that is killed between storing a result and reporting it does not report it.
    assert set(finished(shells).values()) <= {1}
    assert not list((small.folder / "results").rglob("*.pt"))


def test_a_process_continues_the_run_of_a_suspended_one(small):
    """Its claim is not taken while it may still run on this machine."""
    hold = Hold(small.folder, "run.role == 'student' and event.step == 25")
    first = Shell(small, 0, *LONG, "seeds=[1]", plugins=(hold.plugin.name,))
    hold.wait(first.process)
    first.process.send_signal(signal.SIGSTOP)
    second = Shell(small, 1, *LONG, "seeds=[1]")
    assert second.first("waiting")["owner_process"] == first.process.pid
    hold.release()
    first.process.send_signal(signal.SIGCONT)
    assert (first.wait()[0], second.wait()[0]) == (0, 0)
    assert set(finished([first, second]).values()) == {1}


def test_variants_that_score_other_examples_keep_each_others_teachers(small):
    variants = ["methods=[finetune]", "seeds=[1]"], ["methods=[finetune]", "seeds=[1]", "training.limit.validation=20"]
    for variant in variants:
        small.run(*variant)
    store = small.store()
    teachers = store.teachers()
    assert len({teacher.key for teacher in teachers}) == 1, "its weights do not depend on what it is scored on"
    assert len({teacher.cost for teacher in teachers}) == 1, "nor is it fine-tuned twice"
    shutil.rmtree(small.folder / "cache")
    for variant in variants:
        small.run(*variant)
        markdown = report(store.folder).markdown
        assert "INCOMPLETE" not in markdown
        assert (f"Examples scored, order: `{store.plan().tasks[0].data_fingerprint}`") in markdown
    assert store.teachers() == teachers
    assert not list(small.folder.glob("cache/teachers/*"))


def test_variants_of_a_suite_do_not_print_each_others_board(small):
    shells = [
        Shell(small, 0, "methods=[finetune]", "seeds=[1]"),
        Shell(small, 1, "methods=[logit_kd]", "seeds=[2]", "training.epochs=2"),
    ]
    assert [shell.wait()[0] for shell in shells] == [0, 0]
    board, plan = (small.store().folder / "leaderboard.md").read_text(), small.store().plan()
    (label,) = plan.labels
    assert label in board
    assert ({"finetune", "logit_kd"} - {label}).pop() not in board
