"""The execution of a suite by the local engine."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness import hookimpl
from harness.execution import teacher_runs
from harness.execution.graph_progress import build
from harness.planning import run_status
from harness.planning.job_graph import Artifact
from tests.support.student_weights import student_weights

FAILS = """
from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss

class Fails(Method):
    name = "fails"
    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]
    def losses(self, step, batch, student, teachers):
        if step.index == 2:
            raise ValueError("on purpose")
        return {"task": task_loss(student.logits, batch)}

@hookimpl
def harness_register_methods(register):
    register(Fails)
"""


class Watcher:
    """Records the events of runs, and can send a signal at a step."""

    def __init__(self, signal_at=None):
        self.started, self.finished, self.failed, self.steps = [], [], [], []
        self.signal_at = signal_at

    @hookimpl
    def harness_run_started(self, event):
        self.started.append(event.run)

    @hookimpl
    def harness_step(self, event):
        self.steps.append(event)
        if self.signal_at == (event.run.role, event.step):
            self.signal_at = None
            os.kill(os.getpid(), signal.SIGINT)

    @hookimpl
    def harness_run_finished(self, event):
        self.finished.append(event)

    @hookimpl
    def harness_run_failed(self, event):
        self.failed.append(event)


def test_a_suite_end_to_end(small):
    watcher = Watcher()
    outcome = small.run(observers=(watcher,))
    assert not outcome.failed
    assert not outcome.interrupted
    store = small.store()
    records = store.records()
    assert len(records) == 6
    assert {r.status for r in records} == {"completed"}
    assert len({r.data_fingerprint for r in records}) == 1
    assert [run.role for run in watcher.started] == ["teacher", *["student"] * 6]
    assert len(watcher.finished) == 7
    (teacher,) = store.teachers()
    assert teacher.model == "from scratch"
    assert teacher.data_fingerprint == records[0].data_fingerprint
    tinybert = next(r for r in records if r.label == "tinybert")
    assert tinybert.notes == {"layer_map": [[2]]}
    assert {point.stage for point in tinybert.losses} == {"intermediate", "prediction"}
    assert tinybert.cost.steps == 8
    assert {r.seed: r.cost.teacher_forwards for r in records} == {1: 4, 2: 0}  # 120 examples, 32 at a time
    assert tinybert.cost.cohort_size == 3
    assert tinybert.size.flops > 0
    assert tinybert.provenance.hardware.device == "cpu"


def test_scores_are_reproducible_with_plain_transformers(small):
    small.run("methods=[logit_kd]", "seeds=[1]")
    store = small.store()
    (record,) = store.records()
    folder = store.run_folder(record.key) / "student"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert "harness" not in json.dumps(json.loads((folder / "config.json").read_text()))
    assert model.config.id2label == {0: "dark", 1: "bright"}
    predictions = pd.read_parquet(store.run_folder(record.key) / "predictions.parquet")
    small_task = small.load().host.tasks["order"]
    texts = small_task.load(None).validation["validation"]["text"]
    with torch.no_grad():
        logits = model.eval()(**tokenizer(list(texts), padding=True, return_tensors="pt")).logits
    assert logits.argmax(-1).tolist() == predictions["prediction"].tolist()
    assert np.stack(predictions["scores"].to_list()) == pytest.approx(logits.numpy(), abs=1e-5)
    assert record.score == pytest.approx((predictions["prediction"] == predictions["label"]).mean())
    (teacher,) = store.teachers()
    taught = pd.read_parquet(store.folder_of(teacher) / "predictions.parquet")
    assert taught["id"].tolist() == predictions["id"].tolist()
    assert teacher.score == pytest.approx((taught["prediction"] == taught["label"]).mean())


def results(store):
    """Inode and modification time of each file of runs, teachers and examples: they change if it is written again."""
    paths = [path for name in ("runs", "teachers", "examples") for path in (store.folder / name).rglob("*")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.is_file()}


def test_a_second_run_trains_only_missing_runs(small):
    small.run("methods=[finetune]", "seeds=[1]")
    before, written = small.store().records(), results(small.store())
    again = Watcher()
    small.run("methods=[finetune]", "seeds=[1]", observers=(again,))
    assert again.started == []
    assert results(small.store()) == written, "not even the same again"
    more = Watcher()
    small.run("methods=[finetune, logit_kd]", "seeds=[1]", observers=(more,))
    assert [run.label for run in more.started] == ["logit_kd"]
    assert [r for r in small.store().records() if r.label == "finetune"] == before


def test_cached_teachers_are_reused_by_another_suite(small):
    small.run("methods=[finetune]", "seeds=[1]")
    watcher = Watcher()
    small.run("methods=[logit_kd]", "seeds=[2]", "name=other", observers=(watcher,))
    assert [run.role for run in watcher.started] == ["student"]


def test_a_deleted_cache_is_not_rebuilt_if_no_run_is_missing(small):
    small.run("methods=[finetune]", "seeds=[1]")
    shutil.rmtree(small.folder / "cache")
    watcher = Watcher()
    small.run("methods=[finetune]", "seeds=[1]", observers=(watcher,))
    assert watcher.started == []
    small.run("methods=[finetune, logit_kd]", "seeds=[1]", observers=(watcher,))
    assert [run.role for run in watcher.started] == ["teacher", "student"]


LATER = ("methods=[finetune, logit_kd, {logit_kd: {label: later, temperature: 2}}]", "seeds=[1]")


def test_a_teacher_that_is_trained_again_with_the_same_bits_keeps_its_result(small):
    small.finished("methods=[finetune, logit_kd]", "seeds=[1]")
    before = results(small.store())
    shutil.rmtree(small.folder / "cache")
    watcher = Watcher()
    assert not small.run(*LATER, observers=(watcher,)).failed
    assert [run.label for run in watcher.started] == ["base", "later"]
    assert before.items() <= results(small.store()).items()


def perturbed(check):
    """`teacher_runs._check_weights`, after which the teacher has other weights: as on other hardware, but clearly."""

    def changed(run, job):
        with torch.no_grad():
            for weights in run.student.parameters():
                weights.add_(torch.linspace(-1, 1, weights.numel()).reshape(weights.shape))
        check(run, job)

    return changed


@pytest.mark.parametrize("known", [True, False], ids=["its weights are recorded", "a record of an older version"])
def test_a_teacher_with_other_weights_than_those_of_its_result_does_not_teach(small, monkeypatch, known):
    small.finished("methods=[finetune, logit_kd]", "seeds=[1]")
    store, cache = small.store(), small.folder / "cache"
    (record,) = store.teachers()
    assert len(record.weights) == 1
    if not known:
        store.save_teacher(record.model_copy(update={"weights": []}))
    before = results(store)
    cache.rename(small.folder / "first")
    with monkeypatch.context() as patch:
        patch.setattr(teacher_runs, "_check_weights", perturbed(teacher_runs._check_weights))
        outcome = small.run(*LATER)
    (failure,) = outcome.failures
    assert f"its weights in {cache / 'teachers' / record.key} do not give its result" in failure.error
    assert "score" in failure.error
    assert "HARNESS_CACHE" in failure.error
    assert [run.label for run in outcome.failed] == ["later"]
    assert [run.label for run in small.run(*LATER).failed] == ["later"], "the weights are in the cache now"
    assert before.items() <= results(store).items()
    shutil.rmtree(cache)
    (small.folder / "first").rename(cache)
    watcher = Watcher()
    assert not small.run(*LATER, observers=(watcher,)).failed
    assert [run.label for run in watcher.started] == ["later"]
    assert before.items() <= results(store).items()


def test_a_student_is_bit_identical_alone_and_in_a_suite(small):
    small.run("methods=[logit_kd]", "seeds=[2]")
    (record,) = small.store().records()
    expected = student_weights(small.store(), record.key)
    (small.store().run_folder(record.key) / "record.json").unlink()
    small.run()
    again = student_weights(small.store(), record.key)
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


def test_a_failed_run_is_recorded_and_retried(small):
    plugin = small.folder / "fails.py"
    plugin.write_text(FAILS)
    outcome = small.run("methods=[fails, logit_kd]", "seeds=[1]", plugins=(str(plugin),))
    assert [r.label for r in outcome.failed] == ["fails"]
    records = {r.label: r for r in small.store().records()}
    assert records["logit_kd"].status == "completed"
    assert records["fails"].status == "failed"
    assert records["fails"].error == "step 3 (only): ValueError: on purpose"
    states = run_status.status(small.plan("methods=[fails]", "seeds=[1]", plugins=(str(plugin),)), small.store())
    assert "failed, and will be tried again" in states[0].reason
    plugin.write_text(FAILS.replace("step.index == 2", "step.index == 99"))
    outcome = small.run("methods=[fails]", "seeds=[1]", plugins=(str(plugin),))
    assert not outcome.failed
    assert {r.label: r.status for r in small.store().records()}["fails"] == "completed"


@pytest.mark.parametrize(("role", "step"), [("teacher", 5), ("student", 5)])
def test_interrupted_and_run_again_gives_the_same_bits(small, role, step):
    small.run("seeds=[1]")
    expected = {r.label: (student_weights(small.store(), r.key), r.score) for r in small.store().records()}
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")
    outcome = small.run("seeds=[1]", observers=(Watcher(signal_at=(role, step)),))
    assert outcome.interrupted
    assert small.store().records() == []
    watcher = Watcher()
    outcome = small.run("seeds=[1]", observers=(watcher,))
    assert not outcome.interrupted
    assert not list((small.folder / "results").rglob("*.pt"))
    for record in small.store().records():
        tensors, score = expected[record.label]
        assert record.score == score
        mine = student_weights(small.store(), record.key)
        assert all(torch.equal(mine[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("error", [None, ValueError("on purpose")], ids=["built", "failed"])
def test_a_job_returns_the_memory_that_torch_keeps_on_a_gpu(monkeypatch, error):
    """Other processes cannot use it, while this one waits for them."""
    events = []

    def builds(artifacts):
        if error is not None:
            raise error
        yield artifacts[0], None

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("released"))
    artifact, builder = Artifact("key", "title", (), None), SimpleNamespace(build=builds)
    build(builder, [artifact], lambda artifact, error: events.append("finished"))
    assert events == ["finished", "released"]


def test_signal_handlers_are_restored(small):
    before = signal.getsignal(signal.SIGINT)
    small.run("methods=[finetune]", "seeds=[1]")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_fine_tuned_teacher_can_start_a_student(small):
    small.run("methods=[finetune]", "students.1x32={layers: 1, init: [1], init_from: teacher}", "seeds=[1]")
    (record,) = small.store().records()
    assert record.parts["student"]["source"] == small.store().teachers()[0].key
