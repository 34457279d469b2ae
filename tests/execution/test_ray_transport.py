"""What the Ray engine carries between machines: files, plans with data and plugins, progress. Needs no Ray."""

import errno
import itertools
import logging
import os
import pickle
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, load_from_disk

from harness.api.errors import UserError
from harness.api.events import RunFinished, RunId, StepLogged
from harness.execution import portable_plan
from harness.execution.claims import Claims
from harness.execution.ray_engine import cluster, input_files, transport, worker
from harness.execution.ray_engine import outbox as outbox_module
from harness.execution.ray_engine.artifact_files import files_of
from harness.execution.ray_engine.cluster import WorkerResources
from harness.execution.ray_engine.mailbox import Mailbox
from harness.execution.ray_engine.messages import Assignment
from harness.execution.ray_engine.outbox import Outbox
from harness.execution.ray_engine.tasks import Tasks
from harness.execution.ray_engine.transport import Roots
from harness.execution.ray_engine.worker import check_versions, place_of, versions, work
from harness.planning import devices, graph_builder
from harness.plugin_host.host import Host
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.store import Store
from harness.workflow.suite_execution import RunOptions, engine_of
from tests.support.results_factory import in_older_layout


@pytest.fixture
def roots(tmp_path):
    return Roots(tmp_path / "here" / "results", tmp_path / "here" / "cache")


@pytest.fixture
def elsewhere(tmp_path):
    return Roots(tmp_path / "there" / "results", tmp_path / "there" / "cache")


def write_run(roots, predictions=b"predictions"):
    folder = roots.path("store/runs/k")
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "model.safetensors").write_bytes(b"weights")
    (folder / "student" / "config.json").write_bytes(b"{}")
    (folder / "predictions.parquet").write_bytes(predictions)
    checksums.seal(folder, folder / "predictions.parquet")
    (folder / "record.json").write_bytes(b"record")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_arrive_unchanged_and_checksums_stay_valid(roots, elsewhere):
    write_run(roots)
    teacher = roots.path("cache/teachers/t")
    teacher.mkdir(parents=True)
    (teacher / "model.safetensors").write_bytes(bytes(range(256)))
    checksums.seal(teacher)
    files = transport.read(["store/runs/k", "cache/teachers/t", "store/runs/missing"], roots)
    transport.write(pickle.loads(pickle.dumps(files)), elsewhere)
    assert contents(elsewhere.store) == contents(roots.store)
    assert contents(elsewhere.cache) == contents(roots.cache)
    assert checksums.is_intact(elsewhere.path("cache/teachers/t"))
    checksums.verify_existing(elsewhere.path("store/runs/k"))


def test_a_record_is_written_after_its_data(roots, elsewhere, monkeypatch):
    write_run(roots)
    order = []
    write = transport.atomic_writes.write
    monkeypatch.setattr(
        transport.atomic_writes, "write", lambda target, fill: (order.append(target.name), write(target, fill))
    )
    transport.write(transport.read(["store/runs/k"], roots), elsewhere)
    assert set(order[:2]) == {"student", "predictions.parquet"}
    assert order[2:] == ["checksums.json", "record.json"]


def test_new_predictions_are_never_beside_checksums_of_old_ones(roots, elsewhere, monkeypatch):
    write_run(roots)
    write_run(elsewhere, predictions=b"older")
    write = transport.atomic_writes.write

    def killed(target, fill):
        if target.name == "checksums.json":
            raise KeyboardInterrupt
        write(target, fill)

    monkeypatch.setattr(transport.atomic_writes, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        transport.write(transport.read(["store/runs/k"], roots), elsewhere)
    checksums.verify_existing(elsewhere.path("store/runs/k"))


def test_folders_that_are_replaced_lose_their_old_files(roots, elsewhere):
    (old := elsewhere.path("cache/general/g")).mkdir(parents=True)
    (old / "old").write_bytes(b"old")
    transport.write({"cache/general/g/new": np.frombuffer(b"new", dtype=np.uint8)}, elsewhere)
    assert contents(old) == {"new": b"new"}


def test_the_checksum_of_a_folder_depends_on_names_and_contents_only(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    first = transport.digest(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert transport.digest(tmp_path / "copy") == first
    (tmp_path / "copy" / "b" / "file").write_bytes(b"y")
    assert transport.digest(tmp_path / "copy") != first
    assert transport.digest(tmp_path / "missing") is None


def test_a_sent_file_and_a_sent_folder_are_sealed(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text("text")
    transport.write_folder(tmp_path / "sent", transport.read_folder(file), sealed=True)
    assert (tmp_path / "sent" / "plugin.py").read_text() == "text"
    assert checksums.is_intact(tmp_path / "sent")


def test_a_plan_is_restored_without_the_files_of_its_data_and_plugins(small, tmp_path, monkeypatch):
    loaded, plan = small.load(), small.plan()
    stored = tmp_path / "stored"
    plan.runs[0].data.splits.train.save_to_disk(stored)
    model = tmp_path / "model"
    content = (plan.runs, load_from_disk(stored).select([3, 1]), model)
    payload = portable_plan.dump(content, loaded.host, [model])
    (moved := tmp_path / "moved").mkdir()
    (small.folder / "order.py").rename(moved / "order.py")
    shutil.rmtree(stored)
    places = {loaded.host.paths[0]: moved / "order.py", str(model): moved / "model"}
    (runs, rows, path), host = portable_plan.load(payload, places)
    assert [run.planned.key for run in runs] == [run.planned.key for run in plan.runs]
    assert rows.to_dict() == plan.runs[0].data.splits.train.select([3, 1]).to_dict()
    assert rows.features == plan.runs[0].data.splits.train.features
    assert path == moved / "model"
    assert runs[0].data.task.load.__module__ == host.tasks["order"].load.__module__
    assert isinstance(runs[0].data.splits.train, Dataset)


def test_the_input_files_of_a_plan_are_its_models(small, tmp_path):
    plan = small.plan()
    works = [artifact.work for job in graph_builder.build(plan, plan.runs).jobs for artifact in job.artifacts]
    assert input_files.paths(works) == set()  # its teacher is trained from scratch
    checkpoint = tmp_path / "bert"
    teacher = replace(plan.teachers[0], checkpoint=checkpoint)
    run = replace(plan.runs[0], lineage=replace(plan.runs[0].lineage, teachers=(teacher,)), checkpoint=tmp_path / "s")
    assert input_files.paths([run]) == {checkpoint, tmp_path / "s"}


def test_the_files_of_a_teacher_are_those_of_its_examples(small):
    small.finished("methods=[finetune]", "seeds=[1]")
    plan, store = small.plan(), small.store()
    roots = Roots(store.folder, cache_dir.root())
    artifact = next(artifact for job in graph_builder.build(plan, plan.runs).jobs for artifact in job.artifacts)
    (teacher,) = store.teachers()
    named = f"store/teachers/{teacher.key}-{teacher.data_fingerprint}"
    assert files_of(artifact, roots).results == (named, f"store/examples/{teacher.data_fingerprint}.parquet")
    assert files_of(artifact, roots).records == (f"{named}/record.json",)
    assert files_of(artifact, roots).sources == (named,), "its predictions, to compare those of new weights with"
    in_older_layout(store, teacher)
    assert files_of(artifact, roots).results[0] == f"store/teachers/{teacher.key}"


RUN = RunId("k", "order", "finetune", "1x32", 1)


def outbox(mailbox, roots, attempt=1):
    def checkpoints():
        return list(roots.store.glob("checkpoints/*.pt"))

    return Outbox(mailbox.post, attempt, checkpoints, roots)


def test_checkpoints_are_reported_when_they_change(roots):
    mailbox = Mailbox()
    box = outbox(mailbox, roots)
    path = roots.path("store/checkpoints/k.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"first")
    with box.reporting():
        pass
    path.write_bytes(b"second state")
    with outbox(mailbox, roots).reporting():  # of the next attempt: it got the file from the driver
        pass
    sent = [message.checkpoints for message in mailbox.take()]
    assert [bytes(files["store/checkpoints/k.pt"]) for files in sent if files] == [b"first"]


def test_removed_checkpoints_are_reported_once(roots):
    mailbox = Mailbox()
    path = roots.path("store/checkpoints/k.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"state")
    box = outbox(mailbox, roots)
    path.unlink()
    with box.reporting():
        pass
    first, *others = [message.removed for message in mailbox.take()]
    assert first == ("store/checkpoints/k.pt",)
    assert set(others) == {()}


def test_a_checkpoint_may_be_removed_before_it_is_read(roots, monkeypatch):
    """The training removes it while another thread reads which ones exist."""
    mailbox = Mailbox()
    box = outbox(mailbox, roots)
    path = roots.path("store/checkpoints/k.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"state")
    read = np.fromfile
    monkeypatch.setattr(transport.np, "fromfile", lambda file, dtype: (path.unlink(), read(file, dtype=dtype))[1])
    with box.reporting():
        pass
    messages = mailbox.take()
    assert [dict(message.checkpoints) for message in messages] == [{}, {}]
    assert [message.removed for message in messages] == [(), ("store/checkpoints/k.pt",)]


def test_a_folder_may_be_removed_before_it_is_listed(roots, monkeypatch):
    trials, scandir = roots.path("store/checkpoints/study"), os.scandir
    trials.mkdir(parents=True)
    (trials / "trial.pt").write_bytes(b"state")
    (trials.parent / "k.pt").write_bytes(b"state")

    def removed(folder):
        if Path(folder) == trials:
            trials.rename(trials.parent.with_name("removed"))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", removed)
    assert transport.files_at(trials.parent) == [trials.parent / "k.pt"]


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(roots, monkeypatch):
    def failing(folder):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    roots.store.mkdir(parents=True)
    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match="results"):
        transport.files_at(roots.store)


def test_a_report_that_fails_stops_the_job_and_is_raised(roots, monkeypatch):
    monkeypatch.setattr(outbox_module, "INTERVAL", 0.01)
    numbers = itertools.count()

    def post(message):
        if next(numbers) == 1:  # the first report of the thread
            raise RuntimeError("the mailbox is gone")
        return False

    def train():
        deadline = time.monotonic() + 60
        with box.reporting():
            while not box.stopped() and time.monotonic() < deadline:
                time.sleep(0.01)

    box = Outbox(post, 1, list, roots)
    with pytest.raises(RuntimeError, match="the mailbox is gone"):
        train()
    assert box.stopped()


class Started:
    """Ray without a cluster: a task that is started is its assignment."""

    def remote(self, **options):
        return lambda function: self

    def options(self, **options):
        return SimpleNamespace(remote=lambda payload, versions, assignment, mailbox: assignment)


@pytest.mark.parametrize("kind", ["tuning", "cohort"])
def test_a_new_driver_sends_what_workers_of_an_earlier_one_have_saved(small, roots, elsewhere, monkeypatch, kind):
    """A worker reports the checkpoints of runs and trials; a driver that starts later sends them to the next worker."""
    monkeypatch.setenv("HARNESS_CACHE", str(roots.cache))
    plan = small.plan("methods=[finetune]", "seeds=[1]", "tuning={trials: 3}")
    (job,) = (job for job in graph_builder.build(plan, plan.runs).jobs if job.kind == kind)
    (artifact,) = job.artifacts
    store = Store(roots.store)
    if kind == "tuning":
        study = artifact.work
        saved = [store.journal(study.key), store.checkpoint(study.trial(1, study.defaults).planned.key, study.key)]
    else:
        saved = [store.checkpoint(artifact.key)]
    partial = atomic_writes.partial_path(saved[-1])
    for path in (*saved, partial, store.checkpoint("of another artifact")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"state")
    assert worker._checkpoints([artifact], roots, shared=False) == saved
    artifacts = {each.key: each for each in (artifact, *plan_artifacts(plan))}
    tasks = Tasks(Started(), None, None, artifacts, {}, 1, WorkerResources(1, 0), 2**30, "mark", roots)
    assignment = tasks.start(1, job, [artifact])
    assert set(assignment.files) == {roots.name(path) for path in saved}


def plan_artifacts(plan):
    return [artifact for job in graph_builder.build(plan, plan.runs).jobs for artifact in job.artifacts]


def test_the_end_of_a_run_is_reported_with_its_results(roots):
    mailbox = Mailbox()
    box = outbox(mailbox, roots)
    write_run(roots)
    box.event("harness_step", StepLogged(RUN, "train", 5, 10, {}, 0.1))
    box.event("harness_run_finished", RunFinished(RUN, 1.0, {}, 1.0))
    with box.reporting():
        box.finish("k", None, ("store/runs/k",))
    step, end = [message for message in mailbox.take() if message.events]
    assert [hook for hook, _ in step.events] == ["harness_step"]
    assert [hook for hook, _ in end.events] == ["harness_run_finished"]
    assert end.ended.artifact == "k"
    assert "store/runs/k/record.json" in end.ended.files


def test_warnings_are_reported_and_the_worker_learns_that_it_should_stop(roots):
    mailbox = Mailbox()
    box = outbox(mailbox, roots)
    with box.reporting():
        assert not box.stopped()
        logging.getLogger("harness").warning("the %s is damaged", "cache")
        mailbox.stop([1])
    assert box.stopped()
    events = [event for message in mailbox.take() for event in message.events]
    assert events == [("log", (logging.WARNING, "the cache is damaged"))]


def test_other_versions_of_packages_are_refused():
    check_versions(versions())
    with pytest.raises(UserError, match=r"torch .* \(the driver has 1\.0\)"):
        check_versions({**versions(), "torch": "1.0"})


@pytest.mark.parametrize("address", ["somewhere", "ray://localhost:10001", "host:port", "http://host:1"])
def test_an_invalid_address_is_refused(address):
    with (
        pytest.raises(UserError, match="expected HOST:PORT of the head node"),
        cluster.connected(address, WorkerResources(1, 0), None),
    ):
        pass


def test_an_address_without_a_cluster_is_refused():
    with (
        pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"),
        cluster.connected("127.0.0.1:9", WorkerResources(1, 0), None),
    ):
        pass


class Nodes:
    def __init__(self, *resources):
        self.resources = resources

    def nodes(self):
        return [{"Alive": True, "Resources": node} for node in self.resources]


def test_the_number_of_workers_that_fit():
    assert cluster.room(Nodes({"CPU": 8.0}, {"CPU": 3.0}), WorkerResources(2, 0)) == 5
    assert cluster.room(Nodes({"CPU": 16.0, "GPU": 2.0}), WorkerResources(1, 0.25)) == 8
    assert cluster.room(Nodes({"CPU": 16.0, "GPU": 1.0}), WorkerResources(1, 0.1)) == 10
    with pytest.raises(UserError, match="no node of the Ray cluster has room for a worker of 4 CPU threads"):
        cluster.room(Nodes({"CPU": 2.0}), WorkerResources(4, 0))


def test_the_built_in_engines_are_registered():
    assert list(Host.create().engines) == ["local", "ray"]


def test_a_class_is_no_engine(tmp_path):
    plugin = tmp_path / "engine.py"
    plugin.write_text(
        "from harness import hookimpl\n\n\nclass Slow: ...\n\n\n"
        "@hookimpl\ndef harness_register_engines(register):\n    register('slow', Slow)\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"register a function like harness\.api\.engine\.Engine"):
        Host.at([Path(plugin)])


def assignment(**fields):
    values = {"attempt": 1, "kind": "cohort", "artifacts": (), "threads": 1, "gpus": 0.0, "cache_mark": "mark"}
    return Assignment(**{**values, "files": {}, "needs": {}, "digests": {}, "sent": {}, **fields})


def test_a_worker_names_what_it_lacks_and_has_done_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (same := tmp_path / "same").write_text("model")
    (other := tmp_path / "other").write_text("another model")
    digests = {str(same): transport.digest(same), str(other): "0" * 32, str(tmp_path / "missing"): "1" * 32}
    given = assignment(needs={"cache/teachers/t": "0" * 16}, digests=digests)
    assert work(b"", versions(), given, None).lacks == ("cache/teachers/t", str(other), str(tmp_path / "missing"))


def test_a_worker_lacks_a_folder_whose_contents_the_driver_has_replaced(tmp_path, monkeypatch):
    """The copy of a student is that of the run's first training, and the driver has that of the second."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    name, contents = "cache/teachers/t", {"weights": np.frombuffer(b"first", np.uint8)}
    folders = [tmp_path / place / "teachers" / "t" for place in ("cache", "first", "second")]
    for folder in folders:
        transport.write_folder(folder, contents, sealed=True)
    (folders[2] / "weights").write_bytes(b"other")
    checksums.seal(folders[2], folders[2] / "weights")
    first, second = map(checksums.digest, folders[1:])
    missing = {str(tmp_path / "missing"): "1" * 32}  # so that it does nothing

    def lacks(digest, **fields):
        found = work(b"", versions(), assignment(needs={name: digest}, digests=missing, **fields), None).lacks
        return name in found

    assert [lacks(first), lacks(second)] == [False, True]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=transport.read_folder))
    assert lacks(second, sent={name: folders[1]}), "the driver has sent the folder before it replaced it"
    assert not lacks(second, sent={name: folders[2]})
    assert (folders[0] / "weights").read_bytes() == b"other"


def test_a_worker_finds_what_was_sent_before_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (model := tmp_path / "model").mkdir()
    (model / "config.json").write_text("{}")
    (plugin := tmp_path / "plugin.py").write_text("text")
    digests = {str(path): transport.digest(path) for path in (model, plugin)}
    for path in (model, plugin):
        copy = tmp_path / "cache" / "inputs" / digests[str(path)] / path.name
        transport.write_folder(copy, transport.read_folder(path), sealed=True)
    shutil.rmtree(model)
    plugin.unlink()
    with Claims() as claims:
        places = [place_of(path, digest, assignment(), claims) for path, digest in digests.items()]
    assert (places[0] / "config.json").read_text() == "{}"
    assert places[1].name == "plugin.py"
    assert places[1].read_text() == "text"


def test_an_engine_that_does_not_exist_and_options_of_another_are_refused():
    host = Host.create()
    with pytest.raises(UserError, match="--engine: unknown engine 'rya'; did you mean 'ray'"):
        engine_of(RunOptions("rya"), host)
    with pytest.raises(UserError, match="--address: the local engine has no such option; add --engine ray"):
        engine_of(RunOptions("local", address="127.0.0.1:1"), host)


@pytest.mark.parametrize("gpus", [1.5, -1.0, float("nan"), float("inf")])
def test_a_number_of_gpus_that_ray_does_not_give_is_refused(gpus):
    with (
        pytest.raises(UserError, match="--gpus-per-worker: expected a share of one GPU"),
        cluster.connected(None, WorkerResources(1, gpus), None),
    ):
        pass


def test_workers_that_share_a_gpu_leave_room_for_their_contexts(monkeypatch):
    """The CUDA context of each process is not part of its memory fraction, so the fractions must leave room for it."""
    fractions = []
    monkeypatch.setattr(devices, "select", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    plan = SimpleNamespace(device="cuda:1")
    assert [worker._device(plan, assignment(gpus=gpus)) for gpus in (0.25, 1.0)] == [torch.device("cuda:0")] * 2
    assert fractions == [pytest.approx(0.225)]


def test_a_gpu_that_a_new_worker_cannot_use_ends_the_command_with_the_machine_and_the_error(monkeypatch):
    """Each job that is given to it would fail, so this is not counted as the death of a worker."""

    def set_device(device):
        raise RuntimeError("CUDA error: unspecified launch failure\nFor debugging consider ...")

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(platform, "node", lambda: "node2")
    with pytest.raises(UserError, match=r"^node2: the GPU cannot be used "):
        worker._device(SimpleNamespace(device="cuda"), assignment(gpus=1.0))


def test_without_ray_the_engine_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(UserError, match=r"pip install 'kd-harness\[ray\]'"),
        cluster.connected(None, WorkerResources(1, 0), None),
    ):
        pass
