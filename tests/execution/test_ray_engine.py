"""The Ray engine, on a cluster of two nodes on this machine that share no folder."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness import hookimpl
from harness.execution.ray_engine import cluster, worker
from harness.execution.ray_engine.cluster import WorkerResources
from harness.execution.ray_engine.tasks import Tasks
from harness.execution.ray_engine.transport import Roots
from harness.planning import graph_builder
from tests.conftest import SmallSuite
from tests.execution.test_text_students import WORDS, pretrained
from tests.support import ray_cluster  # before ray: it sets the environment that ray reads
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.patience import PATIENCE
from tests.support.student_weights import student_weights

pytest.importorskip("ray")
pytestmark = pytest.mark.xdist_group("ray")  # one cluster

nightly = pytest.mark.skipif("HARNESS_NIGHTLY" not in os.environ, reason="takes a minute; it runs nightly")

LONG = (
    "seeds=[1]",
    "methods=[slow, logit_kd, tinybert]",
    "training.epochs=12",
    "training.checkpoint_every=10",
)
"""A suite of one cohort of three runs, with checkpoints."""

SLOW = """
import time
from pathlib import Path

from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss

SWITCH = Path({switch!r})


class Slow(Method):
    name = "slow"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        if step.index >= 25 and SWITCH.exists():
            time.sleep(1)
        return {{"task": task_loss(student.logits, batch)}}


@hookimpl
def harness_register_methods(register):
    register(Slow)
"""


class Brake:
    """A method whose cohort takes a second per step, from step 25 on, while this is on: time to interrupt or kill it.

    Attributes:
        plugins: the plugin with the method.
    """

    def __init__(self, folder: Path) -> None:
        self._switch = folder / "switch"
        plugin = folder / "slow.py"
        plugin.write_text(SLOW.format(switch=str(self._switch)), encoding="utf-8")
        self.plugins = (str(plugin),)

    def on(self) -> None:
        self._switch.touch()

    def off(self) -> None:
        self._switch.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def the_brake(tmp_path_factory):
    return Brake(tmp_path_factory.mktemp("brake"))


@pytest.fixture
def brake(the_brake):
    yield the_brake
    the_brake.off()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Folder with the caches of the two nodes, and the address of their cluster."""
    folder = tmp_path_factory.mktemp("nodes")
    with ray_cluster.two_nodes(folder) as address:
        yield folder, address


@pytest.fixture
def address(nodes):
    return nodes[1]


@pytest.fixture(scope="module")
def long_results(tmp_path_factory, the_brake):
    """What the local engine makes of the suite `LONG`."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("local")
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        suite = SmallSuite(folder)
        assert not suite.run(*LONG, plugins=the_brake.plugins).failed
        return results(suite.store())


class Watcher:
    """Records the events of runs, and calls `at_step` once, when a student reports a step."""

    def __init__(self, at_step=None):
        self.started, self.finished, self.failed = [], [], []
        self.at_step = at_step

    @hookimpl
    def harness_run_started(self, event):
        self.started.append(event)

    @hookimpl
    def harness_step(self, event):
        if self.at_step and event.run.role == "student" and event.step >= 20:
            action, self.at_step = self.at_step, None
            action()

    @hookimpl
    def harness_run_finished(self, event):
        self.finished.append(event.run)

    @hookimpl
    def harness_run_failed(self, event):
        self.failed.append(event.run)


def results(store):
    """What must be the same bits on every engine: losses, scores, predictions and weights of each run."""
    found = {}
    for record in store.records():
        folder = store.run_folder(record.key)
        predictions = pd.read_parquet(folder / "predictions.parquet")
        found[record.key] = (record.losses, record.metrics, predictions, student_weights(store, record.key))
    return found


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for key, (losses, metrics, predictions, weights) in expected.items():
        assert found[key][0] == losses
        assert found[key][1] == metrics
        pd.testing.assert_frame_equal(found[key][2], predictions, check_exact=True)
        assert all(torch.equal(found[key][3][name], tensor) for name, tensor in weights.items())


def on_ray(small, address, *settings, watcher=None, workers=None, plugins=()):
    """Execute the suite on the cluster, in this process."""
    from harness import planning
    from harness.execution.outcome import ExecutionOptions
    from harness.execution.plan_execution import PlanExecution
    from harness.resolution import resolve

    loaded = small.load(*settings, plugins=plugins)
    plan = planning.build(resolve(loaded, online=False))
    if watcher:
        loaded.host.add_observer(watcher)
    options = ExecutionOptions(workers=workers, address=address)
    return PlanExecution(plan, small.store(), loaded.host, options).run(loaded.host.engines["ray"])


def set_aside(small):
    """Move the results and the cache of the local engine away."""
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"local {name}")


def test_two_nodes_without_common_folders_give_the_bits_of_the_local_engine(small, nodes, brake):
    """The first node trains the teacher and the students of one seed. The second one gets the teacher by reference. Its
    worker is killed once: another one continues from the checkpoints, which have returned to the driver."""
    folder, address = nodes
    settings = (*LONG, "seeds=[1, 2]", "teachers.base.lr=2e-3")  # a teacher of its own
    assert not small.run(*settings, plugins=brake.plugins).failed
    expected = results(small.store())
    set_aside(small)
    watcher, killed = Watcher(), []
    with ray_cluster.occupied(address, "node1"):
        assert not on_ray(small, address, *settings, "seeds=[1]", watcher=watcher, plugins=brake.plugins).failed
    (teacher,) = (small.folder / "cache" / "teachers").iterdir()
    copies = [folder / node / "teachers" / teacher.name / "model.safetensors" for node in ("node0", "node1")]
    assert [copy.exists() for copy in copies] == [True, False]
    watcher.started.clear()

    def kill():
        killed.extend(kill_workers(folder / "node1", " on 1x32, order, seed 2"))
        brake.off()

    watcher.at_step = kill
    brake.on()
    with ray_cluster.occupied(address, "node0"):
        outcome = on_ray(small, address, *settings, watcher=watcher, plugins=brake.plugins)
    assert killed
    assert not outcome.failed
    assert not outcome.failures
    assert_same_bits(results(small.store()), expected)
    assert len(watcher.finished) == 7  # a teacher and six students: nothing was trained twice
    resumed = [event.step for event in watcher.started if event.run.role == "student" and event.step]
    assert resumed
    assert all(step % 10 == 0 for step in resumed)
    assert copies[1].read_bytes() == (teacher / "model.safetensors").read_bytes()
    assert not list((small.store().folder / "checkpoints").glob("*"))


def test_a_job_on_a_gpu_gets_a_process_of_its_own(small, tmp_path, monkeypatch):
    """A process keeps the GPU that it used first. Ray may give another one to its next job."""

    def gpu_and_process(payload, versions, assignment, mailbox):
        import os

        return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()

    monkeypatch.setattr(worker, "work", gpu_and_process)
    job, *_ = graph_builder.build(plan := small.plan("methods=[finetune]", "seeds=[1]"), plan.runs).jobs
    artifacts, resources = {artifact.key: artifact for artifact in job.artifacts}, WorkerResources(1, 1.0)
    with ray_cluster.node_with_gpus(2) as address, cluster.connected(address, resources, None) as ray:
        roots = Roots(tmp_path / "results", tmp_path / "cache")
        tasks = Tasks(ray, None, None, artifacts, {}, 1, resources, 0, "mark", roots)
        used = [ray.get(tasks.start(attempt, job, job.artifacts)) for attempt in range(3)]
    assert {gpu for gpu, _ in used} <= {"0", "1"}
    assert len({process for _, process in used}) == 3


def kill_workers(cache, job):
    """Kill the workers of a node that execute the job. Returns their titles."""
    found = [(process, title) for process, title in workers(cache) if job in title]
    for process, _ in found:
        os.kill(process, signal.SIGKILL)
    return [title for _, title in found]


def workers(cache):
    """The processes of workers on the node with this cache folder: id and title, which is that of the job."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, title = ((process / name).read_bytes() for name in ("environ", "cmdline"))
        except OSError:  # it has ended
            continue
        if f"HARNESS_CACHE={cache}".encode() in environment and title.startswith(b"ray::"):
            yield int(process.name), title.decode()


@nightly
def test_a_student_of_one_node_teaches_on_another_one(small, nodes):
    """The nodes have no common folder: the student returns to the driver, which sends it to the node that reads it."""
    folder, address = nodes
    settings = (
        "teachers.base.lr=3e-3",
        "seeds=[1]",
        "students.2x32={layers: 2, init: uniform}",
        "teachers.medium={row: ta}",
        "methods=[{logit_kd: {label: ta, students: [2x32]}},"
        " {logit_kd: {label: last, students: [1x32], teachers: [medium]}}]",
    )
    assert not small.run(*settings).failed
    expected = results(small.store())
    set_aside(small)
    keys = {job.planned.label: job.planned.key for job in small.plan(*settings).runs}
    first = (*settings[:-1], "methods=[{logit_kd: {label: ta, students: [2x32]}}]")
    with ray_cluster.occupied(address, "node1"):
        assert not on_ray(small, address, *first).failed
    with ray_cluster.occupied(address, "node0"):
        outcome = on_ray(small, address, *settings)
    assert not outcome.failed
    assert not outcome.failures
    assert_same_bits(results(small.store()), expected)
    copies = [(folder / node / "teachers" / keys["ta"]).exists() for node in ("node0", "node1")]
    assert copies == [False, True]


@nightly
def test_text_stages_augmented_data_and_tuning_return_to_the_driver(small, address):
    pretrained(small.folder / "base")
    rng = random.Random(1)
    (small.folder / "corpus.txt").write_text("\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(60)) + "\n")
    settings = (
        "teachers={base: {model: ./base, epochs: 1, lr: 1e-3}}",
        "general={data: corpus.txt, steps: 8, batch_size: 8, max_length: 12, lr: 1e-3}",
        "methods=[{minilm: {assistant: true}}, {tinybert: {augment: {variants: 2, model: ./base}}}, logit_kd]",
        "tuning={trials: 3}",
        "seeds=[1]",
    )
    assert not small.run(*settings).failed
    expected = results(small.store())
    tunings = [small.store().tuning(path.stem) for path in (small.store().folder / "tuning").glob("*.json")]
    texts = {path.parent.name for path in (small.store().folder / "general").glob("*/record.json")}
    assert tunings
    assert len(texts) == 3
    set_aside(small)
    outcome = on_ray(small, address, *settings)
    assert not outcome.failed
    assert not outcome.failures
    assert_same_bits(results(small.store()), expected)
    for tuning in tunings:
        here = small.store().tuning(tuning.key)
        assert [(trial.values, trial.score) for trial in here.trials] == [
            (trial.values, trial.score) for trial in tuning.trials
        ]
        assert small.store().journal(tuning.key).exists()
    for key in texts:
        weights = "student/model.safetensors"
        here, there = small.store().general_folder(key), small.folder / "local results" / "small" / "general" / key
        assert (here / weights).read_bytes() == (there / weights).read_bytes()
    assert not list((small.store().folder / "checkpoints").glob("*"))
    assert len(list((small.folder / "cache" / "augmented").iterdir())) == 1


KILLER = """
import os
import signal

from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss


class Killer(Method):
    name = "killer"

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step, batch, student, teachers):
        if step.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"task": task_loss(student.logits, batch)}


@hookimpl
def harness_register_methods(register):
    register(Killer)
"""


@nightly
def test_a_run_that_kills_its_workers_and_a_teacher_below_its_floor_fail_alone(small, address):
    (plugin := small.folder / "killer.py").write_text(KILLER)
    net = "architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}, epochs: 1, lr: 1e-3"
    outcome = on_ray(
        small,
        address,
        f"teachers={{base: {{{net}}}, weak: {{{net}, seed: 7, floor: {{order: 1.0}}}}}}",
        "methods=[finetune, {logit_kd: {teachers: [base]}}, {logit_kd: {label: weak_kd, teachers: [weak]}}, "
        "{killer: {teachers: [base]}}]",
        "seeds=[1]",
        plugins=(str(plugin),),
    )
    errors = {record.label: record.error for record in outcome.failed}
    assert errors.keys() == {"killer", "weak_kd"}
    assert errors["killer"].startswith("its worker died 3 times; the last time: ")
    assert errors["weak_kd"].startswith("teacher weak on order failed: it scores ")
    (failure,) = outcome.failures
    assert failure.title == "teacher weak on order"
    completed = {record.label for record in small.store().records() if record.status == "completed"}
    assert completed == {"finetune", "logit_kd"}


@nightly
def test_an_interrupted_and_then_killed_driver_is_continued(small, address, brake, long_results):
    brake.on()
    process = command(small, address, *LONG, plugins=brake.plugins)
    wait_until(lambda: len(begun(small)) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(PATIENCE) == 130
    assert "to resume, run the same command again" in process.errors
    assert "Traceback" not in process.errors
    interrupted = begun(small)
    assert interrupted, "Ctrl-C saves checkpoints"
    process = command(small, address, *LONG, plugins=brake.plugins)
    wait_until(lambda: any(place > interrupted.get(name, place) for name, place in begun(small).items()), process)
    process.kill()
    brake.off()
    watcher = Watcher()
    assert not on_ray(small, address, *LONG, watcher=watcher, plugins=brake.plugins).failed
    assert any(event.step >= 10 for event in watcher.started if event.run.role == "student")
    assert_same_bits(results(small.store()), long_results)


@nightly
def test_the_trials_of_an_interrupted_tuning_are_continued(small, address, brake):
    settings = (*LONG, "methods=[slow]", "tuning={trials: 2}")
    brake.on()
    process, folder = command(small, address, *settings, plugins=brake.plugins), small.store().folder
    wait_until(lambda: begun(small, "*/*.pt"), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    brake.off()
    watcher = Watcher()
    assert not on_ray(small, address, *settings, watcher=watcher, plugins=brake.plugins).failed
    assert next(event for event in watcher.started if event.run.role == "trial").step > 0
    assert not list(folder.glob("checkpoints/*"))


def command(small, address, *settings, plugins=()):
    """`harness run --engine ray` in a process group of its own."""
    arguments = ["run", "small.yaml", "--quiet", "--engine", "ray", "--address", address, *set_options(settings)]
    arguments += [argument for plugin in plugins for argument in ("--plugin", plugin)]
    return ForkedCommand(arguments, small.folder, new_group=True)


def begun(small, pattern="*.pt"):
    """Name -> stage and step of each checkpoint of a run, or trial, after its first step."""
    places = {}
    for path in (small.store().folder / "checkpoints").glob(pattern):
        with suppress(FileNotFoundError):  # a later one replaces it, or the run has ended
            progress = torch.load(path, weights_only=True)["progress"]
            places[path.name] = progress["number"], progress["step"]
    return {name: place for name, place in places.items() if place > (0, 0)}


def wait_until(condition, process):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.errors
        assert time.monotonic() < limit
        time.sleep(0.05)
