"""The stages, options and models that every method's terms are held to."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.api.batch import NOT_MASKED, TaskKind
from harness.testing import tiny_batch, tiny_model

KINDS: tuple[TaskKind, ...] = ("classification", "regression", "qa")
DERIVED: tuple[TaskKind, ...] = ("multilabel", "token_classification")
"""Kinds on which only losses on logits and labels differ from classification."""
CLASSES = 3


@dataclass(frozen=True)
class Setting:
    """A stage of a method with its options, and the models that it is given: sizes of student and teachers."""

    method: str
    stage: str | None = None
    config: Mapping[str, Any] | None = None
    student: Mapping[str, Any] = field(default_factory=dict)
    teachers: tuple[Mapping[str, Any], ...] = ({},)

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in (self.config or {}).items())
        return f"{self.method}.{self.stage or 'first'}({options})"


WIDER = ({"hidden": 24},)
"""A teacher wider than the student."""

SETTINGS = [
    Setting("finetune", teachers=()),
    Setting("logit_kd"),
    Setting("logit_kd", config={}, teachers=({"heads": 4, "hidden": 24},)),
    Setting("logit_kd", config={"temperature": 10, "alpha": 0.0}),
    Setting("logit_kd", config={"temperature": 0.5, "alpha": 1.0}),
    Setting("takd"),
    Setting("dgkd", teachers=({}, {"layers": 2, "hidden": 24})),
    Setting("matches", config={"matches": [{"student": "hidden[1]", "teacher": "hidden[3]"}]}),
    Setting("pkd"),
    Setting("pkd", config={"strategy": "last", "temperature": 20.0, "beta": 0.0}, student={"layers": 3}),
    Setting("pkd", config={"strategy": "skip", "alpha": 0.2}, student={"heads": 4}),
    Setting("pkd", config={"normalize": False}),
    Setting("distilbert"),
    Setting("distilbert", "finetune", {"alpha": 0.3}, student={"heads": 2}),
    Setting("tinybert"),
    Setting("tinybert", "intermediate", {"attention_weight": 0.0, "representation_weight": 0.0}, teachers=WIDER),
    *(
        Setting("tinybert", config={"attention_loss": loss, "mapping": mapping}, teachers=teachers)
        for loss, mapping, teachers in [
            ("mse", "mean", ({},)),
            ("mse", [1, 4], WIDER),
            ("mse", "random", ({},)),
            ("kl", "uniform", WIDER),
            ("kl", "mean", ({},)),
            ("kl", "last", ({},)),
            ("cosine", "mean", WIDER),
            ("cosine", "first", ({},)),
        ]
    ),
    Setting("tinybert", config={"projection_bias": True}, teachers=WIDER),
    Setting("tinybert", config={"projection_bias": True}),
    Setting("tinybert", "prediction"),
    Setting("tinybert", "prediction", {"regression_loss": "labels"}),
    Setting("tinybert", "prediction", {"temperature": 3.0}, teachers=WIDER),
    Setting("minilm"),
    Setting("minilm", "distill", {"version": 1, "teacher_layer": 3}, teachers=WIDER),
    Setting("minilm", config={"version": 2}),
    Setting("minilm", config={"version": 2}, student={"heads": 2}, teachers=({"hidden": 24, "heads": 3},)),
    Setting("minilm", config={"version": 2, "relation_heads": 2, "teacher_layer": 2}, teachers=WIDER),
    Setting("minilm", "finetune"),
    Setting("mlkd_bert"),
    Setting("mlkd_bert", "stage1", student={"heads": 2}, teachers=({"hidden": 24},)),
    Setting("mlkd_bert", "stage1", student={"heads": 1}),
    Setting("mlkd_bert", "stage2"),
    Setting("mlkd_bert", "stage2", {"temperature": 2, "contrast_temperature": 0.5}, teachers=WIDER),
    Setting("mlkd_bert", "stage2", {"views": "dropout"}),
    Setting("mlkd_bert", "one_stage", {"one_stage": True}, student={"heads": 2}),
    Setting("mt_bert"),
    Setting("mt_bert", "distill", {"temperature": 3.0}, teachers=({}, {"hidden": 24, "layers": 2, "heads": 2})),
    Setting("mt_bert", config={"weighting": False}, teachers=({}, {"hidden": 8, "layers": 6}, {})),
    Setting("mt_bert", config={"hidden_loss": False, "cofinetune": False}, teachers=({"layers": 3}, {"hidden": 24})),
]

ON_TEXT = [
    Setting("distilbert", "general"),
    Setting("distilbert", "general", {"temperature": 0.5}),
    Setting("tinybert", "general", teachers=WIDER),
    Setting("tinybert", "general", {"attention_loss": "kl", "mapping": "mean"}),
    Setting("minilm", "general", {"teacher_layer": 3}, teachers=WIDER),
    Setting("minilm", "general", {"version": 2}, student={"heads": 2}),
]
"""Stages on unlabelled text."""

ONE_EACH = [
    replace(setting, config={**(setting.config or {}), **extra})
    for setting, extra in [
        (Setting("logit_kd"), {"temperature": 0.5}),
        (Setting("takd"), {"temperature": 0.5}),
        (Setting("dgkd", teachers=({}, {"layers": 2, "hidden": 24})), {"temperature": 0.5}),
        (Setting("matches"), {"matches": [{"student": "hidden[2]", "teacher": "hidden[4]"}]}),
        (Setting("pkd"), {}),
        (Setting("distilbert", "finetune"), {"alpha": 0.5, "temperature": 0.5}),
        (Setting("tinybert"), {}),
        (Setting("tinybert"), {"attention_loss": "kl", "mapping": "mean"}),
        (Setting("tinybert"), {"attention_loss": "cosine"}),
        (Setting("tinybert", "prediction"), {"temperature": 0.5}),
        (Setting("minilm"), {}),
        (Setting("minilm"), {"version": 2}),
        (Setting("minilm", "finetune"), {}),
        (Setting("mlkd_bert", "one_stage"), {"one_stage": True, "temperature": 0.5}),
        (Setting("mt_bert", teachers=({}, {"layers": 2})), {"temperature": 0.5}),
    ]
]
"""What goes into every method, once."""


@functools.cache
def model(kind: TaskKind, role: str, family: str = "bert", **sizes: int) -> PreTrainedModel:
    """A random model whose attention is far from uniform, so that a relative error means something; used many times, so
    every test also relies on its being left as it was."""
    given = {"layers": {"student": 2, "teacher": 4}[role], "hidden": 16, "heads": 4, "ffn": 16, **sizes}
    made = tiny_model(family, kind=kind, num_labels=CLASSES, seed=len(role), **given)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(14)
    return made.double()


def models(
    setting: Setting, kind: TaskKind, families: tuple[str, str] = ("bert", "bert")
) -> tuple[PreTrainedModel, list[PreTrainedModel]]:
    """The student and its teachers, of two families."""
    student = model(kind, "student", families[0], **setting.student)
    return student, [model(kind, "teacher", families[1], **sizes) for sizes in setting.teachers]


def batch_of(kind: TaskKind, **changes: Any) -> dict[str, Tensor]:
    """Four examples of ragged lengths; of text 2, 1, 0 and 1 tokens are masked."""
    if kind == "text":
        made = batch_of("classification", **changes)
        made["labels"] = torch.full_like(made["input_ids"], NOT_MASKED)
        for place, token in {(0, 2): 9, (0, 5): 6, (1, 1): 11, (3, 4): 7}.items():
            made["labels"][place] = token
        return made
    return tiny_batch(kind, **{"batch": 4, "length": 9, "num_labels": CLASSES, "seed": 3, **changes})


def copied(original: PreTrainedModel) -> PreTrainedModel:
    """The same weights once more, in float32."""
    made = type(original)(original.config)
    made.load_state_dict(original.state_dict())
    return made.float().eval()
