"""Data, models, runs and cohorts of the benchmarks, as the engine would create them from a suite."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, PreTrainedModel

from benchmarks.options import Options
from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.api.events import LossPoint, RunId
from harness.api.method import Method
from harness.api.task import Splits, Task
from harness.config.training_schema import TrainingSpec
from harness.models import heads, tokenizers
from harness.models.families import shape
from harness.planning.job_inputs import task_info
from harness.plugin_host.host import Host
from harness.training import precision
from harness.training.batch_stream import BatchStream, TokenizedTask, encode_task
from harness.training.cohort import Cohort
from harness.training.run import Run
from harness.training.teacher import Teacher

TOKENIZER_NAME = "the benchmark's tokenizer"
HEADS = 12
FFN = {312: 1200}
"""FFN size of TinyBERT's 4 x 312 (Jiao et al. 2020, section 4.1). Other widths have four times the width, like BERT."""

WORDS = [f"word{number}" for number in range(1000)]


@dataclass(frozen=True)
class Entry:
    """A method with options and a label."""

    label: str
    method: type[Method]
    options: Mapping[str, Any] = field(default_factory=dict)


def entries() -> list[Entry]:
    """Six methods that need one teacher and support students of any width."""
    methods = Host.create().methods
    selected: list[tuple[str, dict[str, Any]]] = [
        ("logit_kd", {}),
        ("tinybert", {}),
        ("minilm", {}),
        ("mlkd_bert", {}),
        ("mt_bert", {"cofinetune": False}),
        ("tinybert", {"attention_loss": "kl"}),
    ]
    return [Entry("-".join([name, *map(str, options.values())]), methods[name], options) for name, options in selected]


def sizes(size: str) -> dict[str, int]:
    """``4x312`` as architecture of a suite. Raises `UserError` if the width is not divisible by the number of heads."""
    layers, width = map(int, size.split("x"))
    if width % HEADS:
        raise UserError(f"{size}: the width must be divisible by {HEADS}, the number of heads; found {width}")
    return {"layers": layers, "hidden": width, "heads": HEADS, "ffn": FFN.get(width, 4 * width)}


def fixed_length_data(options: Options) -> TokenizedTask:
    """As many examples as the steps need, all with `length` tokens."""
    from datasets import Dataset

    generator, count = random.Random(options.seed), options.steps * options.batch
    texts = [" ".join(generator.choices(WORDS, k=options.length - 2)) for _ in range(count)]  # plus [CLS], [SEP]
    columns = {"id": [str(i) for i in range(count)], "text": texts, "label": [i % 2 for i in range(count)]}
    return _encoded(Dataset.from_dict(columns), tokenizers.whole_word(WORDS), options.length)


def sst2_data(options: Options) -> TokenizedTask:
    """A random sample of the training split of SST-2, of the size that the steps need.

    Raises:
        UserError: the training split is too small.
    """
    dataset = Host.create().tasks["sst2"].load(options.data).train
    count = options.steps * options.batch
    if len(dataset) < count:
        raise UserError(f"{options.data} has {len(dataset)} training examples, {count} are needed; use fewer --steps")
    if options.tokenizer is None:
        tokenizer = tokenizers.whole_word(dataset["text"])
    else:
        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    return _encoded(dataset.shuffle(seed=options.seed).select(range(count)), tokenizer, options.length)


def _encoded(dataset: Any, tokenizer: Any, length: int) -> TokenizedTask:
    splits = Splits(dataset, {})
    task = Task("benchmark", "classification", lambda source: splits, ("accuracy",), "accuracy", labels=("no", "yes"))
    return encode_task(task, splits, tokenizer, TOKENIZER_NAME, length)


class Workload:
    """A teacher and students with random weights, which train on `data` as fast as trained ones."""

    def __init__(self, options: Options, data: TokenizedTask, *, dropout: float = 0.1, **training: Any) -> None:
        self.options = options
        self.data = data
        self.dropout = dropout
        self.device = torch.device(options.device)
        defaults = {"epochs": 1.0, "batch_size": options.batch, "warmup_ratio": 0.0, "checkpoint_every": None}
        settings = {**defaults, **training}
        self.training = TrainingSpec(**{"precision": options.precision, **settings})

    @property
    def tokens(self) -> int:
        """Real tokens that one run trains on."""
        return int(self.data.train.lengths.sum())

    def autocast(self) -> AbstractContextManager[None]:
        """The autocast context of a run, for forward passes and losses."""
        return precision.autocast(self.training, self.device)

    def stream(self) -> BatchStream:
        return BatchStream(
            self.data,
            batch_size=self.options.batch,
            batching=self.training.batching,
            data_seed=self.options.seed,
        )

    def model(self, size: str, seed: int, **settings: Any) -> PreTrainedModel:
        """A classifier with random weights, in eval mode. Equal arguments give equal weights."""
        numbers = sizes(size)
        config = BertConfig(
            num_hidden_layers=numbers["layers"],
            hidden_size=numbers["hidden"],
            num_attention_heads=numbers["heads"],
            intermediate_size=numbers["ffn"],
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            **settings,
        )
        return heads.from_config(config, self.data.task, seed=seed)

    @cached_property
    def teacher(self) -> Teacher:
        return Teacher("teacher", self.model(self.options.teacher, seed=0), TOKENIZER_NAME, self.device)

    def runs(self, entries: Sequence[Entry], size: str) -> list[Run]:
        """One run per entry, with consecutive seeds."""
        return [self.run(entry, size, seed) for seed, entry in enumerate(entries, start=self.options.seed)]

    def run(self, entry: Entry, size: str, seed: int) -> Run:
        teacher, student = shape(self.teacher.model.config, "the teacher"), self._student(size, seed)
        method = entry.method(
            entry.method.Config.model_validate(dict(entry.options)),
            task=task_info(self.data.task),
            student=shape(student.config, size),
            teachers=[teacher],
            seed=seed,
        )
        if problems := method.check(method.task, method.student, method.teachers):
            raise UserError(*problems)
        return Run(
            RunId(f"{entry.label} {size} {seed}", self.data.task.name, entry.label, size, seed),
            method,
            student,
            teachers=[self.teacher.name],
            training=self.training,
            overrides={},
            batches_per_epoch=self.options.steps,
            device=self.device,
        )

    def _student(self, size: str, seed: int) -> PreTrainedModel:
        """A copy of the student; copying is faster than initializing."""
        if (size, seed) not in self._students:
            self._students[size, seed] = self.model(size, seed)
        return copy.deepcopy(self._students[size, seed])

    @cached_property
    def _students(self) -> dict[tuple[str, int], PreTrainedModel]:
        return {}

    def batches(self, steps: int) -> list[Batch]:
        """The first batches of the stream, each padded to its longest row."""
        stream = self.stream()
        return [stream.at(position, self.device).whole(TOKENIZER_NAME) for position in range(steps)]

    def train(self, runs: Sequence[Run]) -> list[list[LossPoint]]:
        """Train the runs as one cohort and return the loss history of each.

        Raises:
            RuntimeError: a run failed, or memory did not suffice for all runs at once.
        """
        cohort = Cohort(self.stream(), {self.teacher.name: self.teacher}, runs, self.device)
        for run in cohort.train(stop=lambda: False, checkpoint=_no_checkpoint):
            if run.error:
                raise RuntimeError(f"{run.id.key}: {run.error}")
        if cohort.deferred:
            raise RuntimeError("out of memory: use fewer --runs or a smaller --batch")
        return [run.history for run in runs]


def _no_checkpoint(run: Run) -> None:
    """Benchmarks are not resumed."""
