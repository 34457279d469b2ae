"""The test kit for plugin authors: a method's loss terms on one batch, tiny models and batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.batch import Batch, TaskKind
from harness.errors import UserError, nearest
from harness.method import Method, Stage, Step, TaskInfo
from harness.tasks.base import Splits, Task
from harness.tensors import Tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 0
CLS, SEP = 1, 2
FIRST_WORD = 3


def loss_terms(
    method: str | type[Method],
    *,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    batch: Mapping[str, Tensor],
    stage: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The unweighted loss terms of one batch, scalars by name, with freshly built modules.

    Teachers are used in eval mode and without gradient, the student as it is given; models, batch and the global
    random state are left as they were. Between equal widths projections are the identity.

    Args:
        method: a method's class, or the name of one that a plugin registers.
        student: a transformers model with a head, float32 or float64.
        teachers: as many as the method takes.
        batch: padded; ``input_ids``, ``attention_mask``, ``token_type_ids`` where the model has them, and ``labels``,
            or ``start_positions``, ``end_positions`` and ``answer_mask``. The kind of task is inferred from them;
            ``labels`` [B, N] are masked tokens of unlabelled text.
        stage: a stage's name; None is the first, or the general stage for unlabelled text.
        config: the method's options; None or {} is every option at its default.

    Raises:
        UserError: there is no such method or stage, or the method refuses these models.
    """
    from harness.models.capture import Capture
    from harness.models.families import shape
    from harness.models.rng import seeded

    cls = _method(method) if isinstance(method, str) else method
    examples = Batch.from_mapping(batch)
    labels = {"classification": student.config.num_labels, "regression": 1, "qa": 2, "text": 0}[examples.kind]
    task = TaskInfo("tiny", examples.kind, labels)
    own = shape(student.config, "student")
    theirs = [shape(teacher.config, f"teacher {i}") for i, teacher in enumerate(teachers, start=1)]
    made = cls(cls.Config.model_validate(config or {}), task=task, student=own, teachers=theirs, seed=seed)
    problems = made.check(task, own, theirs)
    if problems:
        raise UserError(*problems)
    chosen = _stage(made, examples.kind, stage)
    with seeded(seed):
        modules = made.modules(own, theirs).to(device=student.device, dtype=student.dtype)
    capture = Capture(student)

    def forward(needs: Collection[str]) -> Tensors:
        return capture.run(examples.inputs, needs, answer_mask=examples.answer_mask)

    step = Step(chosen, 0, 1, 0.0, 1.0, modules, torch.Generator().manual_seed(seed), again=forward)
    read = []
    for teacher, needs in zip(teachers, chosen.needs.teachers, strict=False):
        with torch.no_grad(), _eval_mode(teacher):
            read.append(Capture(teacher).run(examples.inputs, needs, answer_mask=examples.answer_mask))
    return dict(made.losses(step, examples, forward(chosen.needs.student), read))


def _stage(method: Method, kind: TaskKind, name: str | None) -> Stage:
    general = method.general()
    before = [general.stage] if general else []
    stages = {each.name: each for each in (*method.stages(), *before)}
    if name is None:
        return before[0] if before and kind == "text" else next(iter(stages.values()))
    if name not in stages:
        raise UserError(f"{method.name} has no stage {name!r}; {nearest(name, stages)}")
    return stages[name]


def _method(name: str) -> type[Method]:
    from harness.host import Host

    methods = Host.create().methods
    if name not in methods:
        raise UserError(f"there is no method {name!r}; {nearest(name, methods)}")
    return methods[name]


@contextmanager
def _eval_mode(model: PreTrainedModel) -> Iterator[None]:
    """In eval mode for a while; every module then gets back the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def tiny_model(
    model_type: str = "bert",
    *,
    kind: TaskKind = "classification",
    num_labels: int = 2,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    ffn: int = 64,
    vocab: int = 64,
    seed: int = 0,
) -> PreTrainedModel:
    """A random encoder with a head, in eval mode; the same for the same arguments. Takes up to 48 tokens.

    `model_type` is any of transformers' encoders whose configuration speaks of these numbers: bert, roberta,
    distilbert, electra, albert, ... The global random state is left alone.
    """
    from transformers import AutoConfig

    from harness.models import families
    from harness.models import heads as task_heads

    config = AutoConfig.for_model(model_type, vocab_size=vocab, max_position_embeddings=50, pad_token_id=PAD)
    if hasattr(config, "embedding_size"):
        config.embedding_size = hidden // 2
    config = families.resized(config, layers=layers, hidden=hidden, heads=heads, ffn=ffn)
    labels = tuple(f"class {i}" for i in range(num_labels)) if kind == "classification" else ()
    task = Task("tiny", kind, _no_data, metrics=(), score="", labels=labels)
    return task_heads.from_config(config, task, seed=seed).eval()


def tiny_batch(
    kind: TaskKind,
    *,
    batch: int = 4,
    length: int = 12,
    vocab: int = 64,
    num_labels: int = 2,
    seed: int = 0,
    token_type_ids: bool = True,
) -> dict[str, Tensor]:
    """`batch` random examples of ragged lengths, the first of them `length` tokens, padded, in transformers' naming.

    Each is [CLS] first [SEP] second [SEP]. Labels are ``labels``, or for QA ``start_positions``, ``end_positions``
    and ``answer_mask`` ([CLS] and the second part's words); the last example of a QA batch has no answer.
    """
    if length < 6:
        raise ValueError(f"length is {length}; two parts and three special tokens need at least 6")
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(6, length + 1, (batch,), generator=rng)
    lengths[0] = length
    places = torch.arange(length)
    real = places < lengths[:, None]
    first_sep = lengths[:, None] // 2 - 1
    last_sep = lengths[:, None] - 1
    ids = torch.randint(FIRST_WORD, vocab, (batch, length), generator=rng)
    ids[:, 0] = CLS
    ids[(places == first_sep) | (places == last_sep)] = SEP
    second = (places > first_sep) & (places < last_sep)
    made = {"input_ids": ids.masked_fill(~real, PAD), "attention_mask": real.long()}
    if token_type_ids:
        made["token_type_ids"] = ((places > first_sep) & real).long()
    if kind == "classification":
        made["labels"] = torch.randint(num_labels, (batch,), generator=rng)
    elif kind == "regression":
        made["labels"] = torch.rand(batch, generator=rng)
    else:
        start, end = first_sep[:, 0] + 1, last_sep[:, 0] - 1
        start[-1] = end[-1] = 0
        made |= {"start_positions": start, "end_positions": end, "answer_mask": second | (places == 0)}
    return made


def _no_data(source: str | None) -> Splits:
    raise ValueError("a tiny model's task has no data")
