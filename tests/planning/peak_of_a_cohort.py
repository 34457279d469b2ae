"""Run as a script: trains a cohort for two steps, and prints its estimated and its real peak in bytes."""

import json
import sys
import threading
from pathlib import Path

import torch

from harness.api.batch import Batch
from harness.api.events import RunId
from harness.api.method import TaskInfo
from harness.api.task import Task
from harness.config.schema import TrainingSpec
from harness.models import families, heads
from harness.planning import memory_estimate
from harness.plugin_host.host import Host
from harness.testing import tiny_batch
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.step_batch import StepBatch

CPU = torch.device("cpu")
VOCABULARY, TOKENS = 2000, 128


class OneBatch:
    """Full batches, as the estimate takes them."""

    tokenizer_id = "tokenizer"

    def __init__(self, size):
        made = tiny_batch("classification", batch=size, length=TOKENS, vocab=VOCABULARY)
        self.batch = Batch.from_mapping({**made, "attention_mask": torch.ones_like(made["attention_mask"])})

    def at(self, position, device):
        cut = (slice(0, len(self.batch.ids)), TOKENS)
        return StepBatch(
            {self.tokenizer_id: self.batch}, {self.tokenizer_id: [cut]}, self.batch.inputs["input_ids"].numel()
        )


def model(layers, hidden, attention_heads, ffn):
    from transformers import BertConfig

    numbers = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": attention_heads}
    config = BertConfig(vocab_size=VOCABULARY, intermediate_size=ffn, **numbers)
    task = Task("full", "classification", lambda source: None, metrics=(), score="", labels=("a", "b"))
    return heads.from_config(config, task, seed=0)


def cohort(methods, teacher, student, batch, precision):
    training = TrainingSpec(epochs=1, batch_size=batch, max_length=TOKENS, precision=precision)
    taught, runs, loads = model(*teacher), [], []
    base = families.shape(taught.config, "base")
    reading = memory_estimate.Reading(batch, TOKENS, VOCABULARY, 2)
    for name in methods:
        cls, learner = Host.create().methods[name], model(*student)
        own = families.shape(learner.config, "student")
        bases = [base] if cls.max_teachers != 0 else []
        made = cls(cls.Config(), task=TaskInfo("full", "classification", 2), student=own, teachers=bases, seed=1)
        settings = {"training": training, "overrides": {}, "batches_per_epoch": 2, "device": CPU}
        names = ["base"] if bases else []
        runs.append(Run(RunId(name, "full", name, "student", 1), made, learner, teachers=names, **settings))
        stages = made.stages()
        asked = frozenset(need for stage in stages for needs in stage.needs.teachers for need in needs)
        teachers = {"base": (base, asked)} if bases else {}
        split = [(stage.needs.student, not stage.batch_dependent) for stage in stages]
        loads.append(memory_estimate.load(own, split, teachers, reading, training, fused=False))
    return Cohort(OneBatch(batch), {"base": Teacher("base", taught, "tokenizer", CPU)}, runs, CPU), loads


def train(asked):
    made, loads = cohort(**asked)
    for run in made.train(stop=lambda: False, checkpoint=lambda run: None):
        assert run.error is None, run.error
    return loads


def resident():
    """Bytes of its own: files that are mapped come and go as other processes need the memory."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024


class Peak(threading.Thread):
    """The most that was resident while it ran."""

    def __init__(self):
        super().__init__()
        self.most, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.002):
            self.most = max(self.most, resident())


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    tiny = {"teacher": [2, 16, 2, 32], "student": [2, 16, 2, 32], "batch": 2}
    train({**asked, **tiny})  # what the process takes by itself
    before, peak = resident(), Peak()
    peak.start()
    loads = train(asked)
    peak.over.set()
    peak.join()
    print(json.dumps({"estimated": memory_estimate.peak(loads), "measured": peak.most - before}))
