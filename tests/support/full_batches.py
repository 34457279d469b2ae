"""A cohort on full batches, as the estimate of memory assumes them, with its estimate."""

import torch

from harness.api.batch import Batch
from harness.api.events import RunId
from harness.api.method import TaskInfo
from harness.api.task import Task
from harness.config.training_schema import TrainingSpec
from harness.models import families, heads
from harness.planning import memory_estimate
from harness.plugin_host.host import Host
from harness.testing import tiny_batch
from harness.training.cohort import Cohort
from harness.training.run import Run
from harness.training.step_batch import StepBatch
from harness.training.teacher import Teacher

VOCABULARY, TOKENS = 2000, 128


class OneBatch:
    """A stream of full batches, as the estimate assumes."""

    tokenizer_id = "tokenizer"

    def __init__(self, size):
        inputs = tiny_batch("classification", batch=size, length=TOKENS, vocab=VOCABULARY)
        self.batch = Batch.from_mapping({**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])})

    def at(self, position, device):
        return self.build(position).to(device)

    def build(self, position):
        cut = (slice(0, len(self.batch.ids)), TOKENS)
        return StepBatch(
            {self.tokenizer_id: self.batch}, {self.tokenizer_id: [cut]}, self.batch.inputs["input_ids"].numel()
        )


def model(layers, hidden, attention_heads, ffn, dropout=0.1):
    from transformers import BertConfig

    numbers = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": attention_heads}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = BertConfig(vocab_size=VOCABULARY, intermediate_size=ffn, **numbers, **rates)
    task = Task("full", "classification", lambda source: None, metrics=(), score="", labels=("a", "b"))
    return heads.from_config(config, task, seed=0)


def cohort(methods, teacher, student, batch, precision, device="cpu", dropout=0.1):
    """The cohort, and the estimated load of each run. Sizes are layers, hidden, heads, ffn."""
    device = torch.device(device)
    training = TrainingSpec(epochs=1, batch_size=batch, max_length=TOKENS, precision=precision)
    teacher_model, runs, loads = model(*teacher, dropout=dropout), [], []
    teacher_shape = families.shape(teacher_model.config, "base")
    batch_shape = memory_estimate.BatchShape(batch, TOKENS, VOCABULARY, 2)
    for name in methods:
        cls, learner = Host.create().methods[name], model(*student, dropout=dropout)
        student_shape = families.shape(learner.config, "student")
        bases = [teacher_shape] if cls.max_teachers != 0 else []
        method = cls(
            cls.Config(), task=TaskInfo("full", "classification", 2), student=student_shape, teachers=bases, seed=1
        )
        settings = {"training": training, "overrides": {}, "batches_per_epoch": 2, "device": device}
        names = ["base"] if bases else []
        runs.append(Run(RunId(name, "full", name, "student", 1), method, learner, teachers=names, **settings))
        stages = method.stages()
        outputs = frozenset(name for stage in stages for names in stage.needs.teachers for name in names)
        teachers = {"base": (teacher_shape, outputs)} if bases else {}
        split = [memory_estimate.StageLoad(stage.needs.student, not stage.batch_dependent) for stage in stages]
        loads.append(
            memory_estimate.load(student_shape, split, teachers, batch_shape, training, fused=device.type == "cuda")
        )
    base = Teacher("base", teacher_model, "tokenizer", device)
    return Cohort(OneBatch(batch), {"base": base}, runs, device), loads


def train(arguments):
    trained, loads = cohort(**arguments)
    for run in trained.train(stop=lambda: False, checkpoint=lambda run: None):
        assert run.error is None, run.error
    return loads
