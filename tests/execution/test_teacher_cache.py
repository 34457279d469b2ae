"""Cached teacher outputs in suites: computed once, and used by all runs with the same bits."""

import itertools
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch

from harness.api.engine import Interrupted
from harness.execution import claim_files, student_cohorts, teacher_cache, teacher_runs
from harness.execution.claims import Claims
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.storage import atomic_writes, checksums
from harness.storage.store import Store
from harness.teacher_outputs import fill, output_store
from harness.training.teacher import Teacher
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.student_weights import student_weights

CPU = torch.device("cpu")
ALL = "methods=[logit_kd, tinybert, {minilm: {version: 2}}, mlkd_bert, mt_bert]"


@pytest.fixture
def passes(monkeypatch):
    """Number of rows of each batch on which a teacher is run for students."""
    seen = []
    forward = Teacher.forward

    def counted(self, batch, needs, training, **options):
        seen.append(len(batch.ids))
        return forward(self, batch, needs, training, **options)

    monkeypatch.setattr(Teacher, "forward", counted)
    return seen


def bits(small):
    store = small.store()
    results = {}
    for record in store.records():
        assert record.status == "completed", record.error
        results[record.label, record.seed] = (student_weights(store, record.key), record.score)
    return results


def assert_same(results, expected):
    assert results.keys() <= expected.keys()
    for run, (tensors, score) in results.items():
        assert score == expected[run][1]
        assert all(torch.equal(expected[run][0][name], tensor) for name, tensor in tensors.items()), run


def forget(small, *names):
    for name in names:
        shutil.rmtree(small.folder / name, ignore_errors=True)


def test_outputs_belong_to_the_weights_and_not_to_when_they_were_trained(small):
    small.finished("methods=[finetune]", "seeds=[1]")
    (teacher,) = small.plan().teachers
    folder, trained = teacher_runs.cached(teacher).path, teacher_runs.weights_id(teacher)
    (folder / teacher_runs.FIT).write_text("{}", encoding="utf-8")
    checksums.seal(folder)
    assert teacher_runs.weights_id(teacher) == trained
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b" ")
    checksums.seal(folder)
    assert teacher_runs.weights_id(teacher) != trained


def test_with_a_warm_cache_no_teacher_is_loaded(small, passes, monkeypatch):
    small.run("students.1x32.init=random")
    assert sorted(passes) == [24, 32, 32, 32]
    first = {record.label: record for record in small.store().records() if record.seed == 1}
    assert {r.seed: r.cost.teacher_forwards for r in small.store().records()} == {1: 4, 2: 0}
    filling = first["tinybert"].cost.teacher_seconds_whole
    assert filling > first["tinybert"].cost.teacher_seconds > 0
    assert first["finetune"].cost.teacher_seconds == 0
    passes.clear()
    loaded = []
    monkeypatch.setattr(student_cohorts, "Teacher", lambda *args: loaded.append(args))
    small.run("students.1x32.init=random", "seeds=[3]", "training.epochs=2")
    small.run("students.1x32.init=random", "name=other", "methods=[tinybert, logit_kd]", "training.lr=0.002")
    assert passes == []
    assert loaded == []
    assert {r.cost.teacher_forwards for r in small.store().records() if r.seed == 3} == {0}


def test_bits_do_not_depend_on_the_filling_run_or_the_cohort(small):
    small.run(ALL)
    expected = bits(small)
    forget(small, "results")
    small.run(ALL, "seeds=[1]")  # warm
    assert_same(bits(small), expected)
    for methods in ("[mt_bert]", "[mlkd_bert, logit_kd]"):
        forget(small, "results", "cache/tensors")
        small.run(f"methods={methods}", "seeds=[2]")  # filled by other runs, and each in another cohort
        assert_same(bits(small), expected)
        small.run(ALL, "seeds=[1]")
        assert_same(bits(small), expected)


def test_one_pass_serves_the_needs_of_all_seeds_and_methods(small, passes):
    small.run("methods=[logit_kd, tinybert]")
    assert sum(passes) == 120
    small.run("methods=[logit_kd, tinybert, {minilm: {version: 2}}]")
    assert sum(passes) == 2 * 120  # only for the new outputs


def test_the_teacher_is_run_for_outputs_that_do_not_fit(small, passes):
    small.run("methods=[logit_kd, tinybert]", "seeds=[1]", "teacher_cache.max_gb=0.0001")
    assert sum(passes) == 120 + 120  # a pass for the cached logits, and the epoch of tinybert
    used = {record.label: record.cost.teacher_forwards for record in small.store().records()}
    assert used == {"logit_kd": 4, "tinybert": 8}
    assert sum(file.stat().st_size for file in teacher_cache.root().rglob("*.bin")) < 1e5


def test_a_limit_of_zero_disables_the_cache(small):
    small.run("methods=[logit_kd, tinybert]", "seeds=[1]", "teacher_cache.max_gb=0")
    assert not teacher_cache.root().exists()
    assert {record.cost.teacher_forwards for record in small.store().records()} == {8}


def test_the_oldest_outputs_are_removed_for_new_ones(small):
    limit = "teacher_cache.max_gb=0.0012"
    folders = []
    for lr in (1e-3, 2e-3, 3e-3):
        small.run("methods=[tinybert]", "seeds=[1]", f"teachers.base.lr={lr}", limit)
        folders.append({folder for folder in teacher_cache.root().iterdir() if folder.is_dir()})
        time.sleep(0.02)
    first, second, third = folders
    assert first < second
    assert len(second) == len(third) == 2
    assert not first & third
    assert sum(file.stat().st_size for file in teacher_cache.root().rglob("*.bin")) < 1.2e6


@pytest.mark.parametrize(("precision", "is_begun"), [("bf16", False), ("fp32", True)])
def test_no_more_is_removed_than_the_new_outputs_take(small, precision, is_begun):
    """The bytes in the file count, less those of an unfinished pass, which are on the disk already."""
    first, second = (
        ("methods=[tinybert]", "seeds=[1]", f"training.precision={precision}", f"teachers.base.lr={lr}")
        for lr in (1e-3, 2e-3)
    )
    small.run(*first)
    (kept,) = (folder for folder in teacher_cache.root().iterdir() if folder.is_dir())
    small.run(*second)
    (new,) = (folder for folder in teacher_cache.root().iterdir() if folder.is_dir() and folder != kept)
    size = sum(file.stat().st_size for file in teacher_cache.root().rglob("*.bin"))
    if is_begun:
        (new / output_store.MANIFEST).unlink()
    else:
        shutil.rmtree(new)
    forget(small, "results")
    assert not small.run(*second, f"teacher_cache.max_gb={1.1 * size / 1e9}").failed
    assert (new / output_store.MANIFEST).exists(), "computed again"
    assert kept.exists()


def test_claimed_outputs_are_not_removed(small):
    limit = "teacher_cache.max_gb=0.0006"
    small.run("methods=[tinybert]", "seeds=[1]", limit)
    (first,) = (f for f in teacher_cache.root().iterdir() if f.is_dir())
    with Claims() as other:
        assert other.take(first, "outputs")
        small.run("methods=[tinybert]", "seeds=[1]", "teachers.base.lr=0.002", limit)
    assert first.exists()


def outputs_of(plan):
    """The outputs of the plan's teacher."""
    (job,) = plan.teachers
    (tokenized,) = TokenizedTasks().of(job.data, [job.tokenizer_ref], plan.spec.training.max_length)
    return teacher_cache.output_store(job, tokenized, plan.spec, CPU)


def test_outputs_are_not_removed_while_they_are_opened(small, monkeypatch):
    """Another process that needs all space evicts neither them nor a claim that a third process is creating."""
    small.run("methods=[logit_kd]", "seeds=[1]")
    plan = small.plan("methods=[logit_kd]", "seeds=[1]")
    outputs = outputs_of(plan)
    claim = atomic_writes.partial_path(claim_files.claim_path(teacher_cache.root() / "other"))
    claim.mkdir()
    opened = output_store.CachedTeacher

    def evict_first(*args):
        with Claims() as other:
            teacher_cache._evict(1e12, teacher_cache.root() / "other", 0.0, other)
        return opened(*args)

    monkeypatch.setattr(teacher_cache, "CachedTeacher", evict_first)
    names = frozenset(["logits"])
    with Claims() as claims:
        context = replace(small.context(), claims=claims)
        teacher_cache.open_outputs(outputs, names, "base", lambda: None, spec=plan.spec, context=context)
    assert not outputs.missing(names)
    assert claim.exists()


def test_waiting_for_another_process_can_be_stopped(small):
    plan = small.plan("methods=[logit_kd]", "seeds=[1]")
    small.run("methods=[finetune]", "seeds=[1]")
    outputs = outputs_of(plan)
    outputs.folder.parent.mkdir(parents=True)
    context = small.context(lambda: True)
    with Claims() as other, other.held(outputs.folder, "outputs", lambda: False), pytest.raises(Interrupted):
        teacher_cache.open_outputs(
            outputs, frozenset(["logits"]), "base", lambda: None, spec=plan.spec, context=context
        )


def die_in_the_sixth_pass():
    """Let the teacher kill its process, on small batches whose outputs are saved after every second one."""
    fill.SAVED_EVERY, output_store.BATCH_SIZE = 2, 8
    forward, number = Teacher.forward, itertools.count(1)

    def dies(*args, **options):
        if next(number) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(*args, **options)

    Teacher.forward = dies


def start(small, *overrides, prepare=None):
    return ForkedCommand(["run", "small.yaml", "--quiet", *set_options(overrides)], small.folder, prepare=prepare)


def test_a_kill_during_the_filling_leaves_a_valid_cache(small, passes, monkeypatch):
    monkeypatch.setattr(output_store, "BATCH_SIZE", 8)
    suite = ("methods=[tinybert, logit_kd]", "seeds=[1]")
    small.run(*suite)
    expected, total = bits(small), len(passes)
    assert total == 15
    forget(small, "results", "cache/tensors")
    passes.clear()
    process = start(small, *suite, prepare=die_in_the_sixth_pass)
    assert process.wait() == -signal.SIGKILL, process.errors
    assert not list(teacher_cache.root().glob("*/manifest.json"))
    small.run(*suite)
    assert len(passes) == total - 4
    assert_same(bits(small), expected)
    assert {record.cost.teacher_forwards for record in small.store().records()} == {total}


def test_two_processes_at_once_share_one_pass(small):
    """Two suites with the same cached teacher: one fills the cache of outputs, and both use the same bits."""
    small.run("methods=[finetune]", "seeds=[1]")
    started = [
        start(small, "methods=[tinybert, logit_kd]", "seeds=[1]", f"name={name}", "training.epochs=3")
        for name in ("one", "two")
    ]
    for process in started:
        assert process.wait() == 0, process.errors
    stores = [Store(small.folder / "results" / name) for name in ("one", "two")]
    records = [{record.label: record for record in store.records()} for store in stores]
    assert sorted(by_label["tinybert"].cost.teacher_forwards for by_label in records) == [0, 4]
    for label in ("tinybert", "logit_kd"):
        one, two = (
            student_weights(store, by_label[label].key) for store, by_label in zip(stores, records, strict=True)
        )
        assert all(torch.equal(one[name], tensor) for name, tensor in two.items())
