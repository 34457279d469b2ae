"""A small task in memory, and runs on it."""

import copy
from functools import cache, cached_property

import pytest
import torch
from datasets import Dataset

from harness.api.events import RunId
from harness.api.task import Splits, Task
from harness.config.training_schema import TrainingSpec
from harness.execution import run_checkpoints
from harness.models import tokenizers
from harness.models.families import shape
from harness.planning.job_inputs import task_info
from harness.plugin_host.host import Host
from harness.testing import tiny_model
from harness.training.batch_stream import BatchStream, encode_task
from harness.training.best_epoch import BestEpoch
from harness.training.cohort import Cohort
from harness.training.run import Run
from harness.training.scoring import score
from harness.training.shared_tensors import SharedTensors
from harness.training.step_execution import step_alone
from harness.training.teacher import Teacher

CPU = torch.device("cpu")
TEXT = "red green blue small large old new cat dog bird tree house runs sleeps falls sings"
WORDS = TEXT.split()
LABELS = {"classification": ("no", "yes"), "multilabel": ("a", "b", "c"), "token_classification": ("O", "B-X", "I-X")}
SCORES = {
    "classification": ("accuracy", "accuracy"),
    "multilabel": ("f1_micro", "f1_micro"),
    "regression": ("pearson_spearman", "pearson"),
    "token_classification": ("entity_f1", "entity_f1"),
    "qa": ("squad", "f1"),
}
"""Kind -> registered metric, and the value that is the score."""
SOLVED_ON_THE_CPU = {"bert_emd"}
"""Methods that solve a small problem on the CPU at every step, and say so: they wait for the device."""
WIDTHS = {"distilbert": 32, "pkd": 32, "theseus": 32}
"""Of students whose method needs the teacher's width."""


def examples(count, seed, kind):
    rng = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(WORDS), (count, 9), generator=rng).tolist()
    texts = [" ".join(WORDS[i] for i in row[: 3 + row[0] % 7]) for row in draws]
    ids = [str(i) for i in range(count)]
    if kind == "qa":
        answers = [[{"text": text.split()[1], "start": text.index(" ") + 1}] for text in texts]
        return Dataset.from_dict({"id": ids, "question": ["which one"] * count, "context": texts, "answers": answers})
    if kind == "token_classification":  # the tag of a word depends on the word
        words = [text.split() for text in texts]
        tags = [[WORDS.index(word) % 3 for word in row] for row in words]
        return Dataset.from_dict({"id": ids, "tokens": words, "tags": tags})
    if kind == "multilabel":
        labels = [[index for index in range(3) if row[1 + index] % 2] for row in draws]
        return Dataset.from_dict({"id": ids, "text": texts, "label": labels})
    labels = [row[1] % 2 for row in draws] if kind == "classification" else [row[1] / 8 for row in draws]
    return Dataset.from_dict({"id": ids, "text": texts, "label": labels})


@cache
def _host():
    """The installed plugins, discovered once."""
    return Host.create()


@cache
def _data(kind):
    """The tokenized task, and the size of its vocabulary."""
    metric, score = SCORES[kind]
    task = Task("small", kind, lambda source: splits, metrics=(metric,), score=score, labels=LABELS.get(kind, ()))
    splits = Splits(examples(44, 1, kind), {"validation": examples(20, 2, kind)}, examples(24, 3, kind))
    tokenizer = tokenizers.whole_word([TEXT, "which one"])
    return encode_task(task, splits, tokenizer, "tokenizer", 24), len(tokenizer)


@cache
def _template(family, **settings):
    """A tiny model to copy, which is faster than to build another one."""
    return tiny_model(family, **settings)


class World:
    """A small task, with factories of runs and cohorts on it. `teacher` and `student` are encoder families."""

    def __init__(self, kind, training, teacher="bert", student="bert", device="cpu"):
        self.kind = kind
        self.families = {"teacher": teacher, "student": student}
        self.training = training
        self.device = torch.device(device)
        host = _host()
        self.methods, self.metrics = host.methods, host.metrics
        self.data, self.vocab = _data(kind)

    def teacher(self):
        return self.model("teacher", layers=4, seed=99)

    def model(self, role="student", **sizes):
        family, num_labels = self.families[role], self.data.task.num_labels
        return copy.deepcopy(_template(family, kind=self.kind, num_labels=num_labels, vocab=self.vocab, **sizes))

    @cached_property
    def teacher_shape(self):
        return shape(self.teacher().config, "base")

    def supports(self, run):
        """Whether the method of a run takes this task and these models."""
        made = run.method
        return not made.check(made.task, made.student, made.teachers)

    def run(self, method, *, seed=1, config=None, overrides=None, best=None, observe=lambda run, point: None):
        """A run. A method that needs several teachers gets the same one several times."""
        cls = method if isinstance(method, type) else self.methods[method]
        hidden = WIDTHS.get(cls.name, 16)
        student = self.model(layers=2, hidden=hidden, seed=seed)
        shapes = [self.teacher_shape] * max(1, cls.min_teachers) if cls.max_teachers != 0 else []
        made = cls(
            cls.Config.model_validate(config or {}),
            task=task_info(self.data.task, len(self.data.train)),
            student=shape(student.config, "student"),
            teachers=shapes,
            seed=seed,
        )
        return Run(
            RunId(f"{cls.name}-{seed}", "small", cls.name, "student", seed),
            made,
            student,
            teachers=["base"] * len(shapes),
            training=self.training,
            overrides=overrides or {},
            batches_per_epoch=self.stream().batches_per_epoch,
            device=self.device,
            best=best,
            observe=observe,
        )

    def best(self):
        """By the score on the examples that are held out."""
        return BestEpoch(
            lambda capture: (
                score(capture, self.data, self.metrics, batch_size=8, device=self.device, part="selection").score
            )
        )

    def stream(self):
        return BatchStream(self.data, batch_size=self.training.batch_size, batching=self.training.batching, data_seed=5)

    def cohort(self, *runs):
        teacher = Teacher("base", self.teacher(), "tokenizer", self.device)
        return Cohort(self.stream(), {"base": teacher}, runs, self.device)

    def step_each_stage(self, run, cohort=None):
        """Take the first step of each stage, without reading a loss; returns the run. `cohort`: has its teachers."""
        cohort, data = cohort or self.cohort(run), self.stream().at(0, self.device)
        for number in range(len(run.progress.stages)):
            run.enter_stage(number)
            outputs = cohort.teacher_passes.outputs(0, data, [run])
            if run.error is None:
                step(cohort, run, data, outputs)
        return run


def step(cohort, run, data, outputs):
    """A step of one run of the cohort on a batch, with the outputs of the teachers."""
    step_alone(run, cohort.inputs_of(run, data, outputs), SharedTensors(data, outputs))


def train(cohort, *, stop=lambda: False, checkpoint=lambda run: None):
    """Train a cohort to its end; returns the runs that ended, in order."""
    return list(cohort.train(stop=stop, checkpoint=checkpoint))


def bits(run):
    """All weights and buffers of a run, and its logged losses."""
    tensors = {**run.student.state_dict(), **{f"module.{k}": v for k, v in run.modules.state_dict().items()}}
    return {name: tensor.clone() for name, tensor in tensors.items()}, [point.terms for point in run.history]


def assert_same(run, expected):
    """The `bits` of a run are the expected ones."""
    weights, history = expected
    mine, said = bits(run)
    assert mine.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(mine[name], tensor), f"{run.id}: {name} differs"
    assert said == history


def interrupted(world, build, position, checkpoint):
    """Train the run that `build` returns up to a position; returns another one that continues from its checkpoint."""
    first, again = build(), build()
    train(
        world.cohort(first),
        stop=lambda: first.position >= position,
        checkpoint=lambda run: run_checkpoints.save(run, checkpoint),
    )
    assert run_checkpoints.restore(again, checkpoint)
    assert again.position == position
    return again


def alone(world, method, config, seed):
    """The `bits` of a run that is trained in a cohort of its own."""
    run = world.run(method, config=config, seed=seed)
    train(world.cohort(run))
    assert run.error is None
    return bits(run)


@pytest.fixture
def world(monkeypatch):
    """Creates small tasks. Groups cost nearly nothing, so that their small batches are split."""
    monkeypatch.setattr("harness.training.batch_stream.GROUP_COST", 1)

    def make(kind="classification", teacher="bert", student="bert", device="cpu", **training):
        settings = TrainingSpec(
            **{"batching": "grouped", "epochs": 2, "batch_size": 8, "lr": 1e-3, "log_every": 3, **training}
        )
        return World(kind, settings, teacher, student, device)

    return make
