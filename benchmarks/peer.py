"""TextBrewer's GeneralDistiller, used as its README says: an adaptor, matches, and the models' own outputs."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from benchmarks.matched import Matched
from benchmarks.workload import Entry, Workload
from harness.api.batch import Batch
from harness.latency.timing_protocol import Call
from harness.training.optimizer import adamw, set_learning_rate
from harness.training.run import Run
from harness.training.schedule import learning_rate

Fields = dict[str, Tensor]
"""A batch as TextBrewer hands it to both models."""

LossObserver = Callable[[str, float], object]
"""Told of each loss of each step: our name of it, and its value."""


def fields(batch: Batch, length: int | None = None) -> Fields:
    """The models' inputs, padded to `length` tokens, or as they are. What pads is masked: its id is any."""
    more = 0 if length is None else length - batch.inputs["input_ids"].shape[1]
    return {name: F.pad(tensor, (0, more)) for name, tensor in batch.inputs.items()}


def adapted(model: PreTrainedModel, entry: Entry) -> PreTrainedModel:
    """Only the eager kernel gives attention probabilities; without them the model keeps the fused one."""
    if entry.options["attention"]:
        model.set_attn_implementation("eager")
    return model


def distillation(
    workload: Workload,
    teacher: PreTrainedModel,
    run: Run,
    batches: Sequence[Fields],
    entry: Entry,
    *,
    see: LossObserver = lambda name, value: None,
) -> Call:
    """From where a fresh run of the harness stands, which it takes the student and the linear maps from."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    assert isinstance(run.method, Matched)
    settings, steps, attention = workload.training, len(batches), bool(entry.options["attention"])
    matches = _matches(run.method, settings.lr)
    distiller = GeneralDistiller(
        # The folder exists, so that none is made; nothing is written.
        TrainingConfig(device=str(workload.device), output_dir=tempfile.gettempdir(), ckpt_steps=steps),
        DistillationConfig(
            temperature=run.method.config.temperature, kd_loss_type="ce", intermediate_matches=list(matches.values())
        ),
        model_T=teacher,
        model_S=adapted(run.student, entry),
        adaptor_T=_adaptor,
        adaptor_S=_adaptor,
    )
    for own, module in run.modules.items():
        distiller.projs[int(own)].load_state_dict(module.state_dict())
    distiller.tb_writer = _Writer(matches, see)
    distiller.save_and_callback = lambda *place: None  # the cohort saves nothing either
    distiller.train_on_batch = _cast(distiller.train_on_batch, workload)
    optimizer = adamw([run.student], weight_decay=settings.weight_decay)
    set_learning_rate(optimizer, settings.lr)
    schedule = {"lr_lambda": lambda step: learning_rate(1.0, step, steps, settings.warmup_ratio)}

    def call() -> None:
        with redirect_stderr(io.StringIO()), distiller:  # no progress bar where there is no terminal
            distiller.train(
                optimizer,
                batches,
                num_steps=steps,
                scheduler_class=LambdaLR,
                scheduler_args=schedule,
                output_hidden_states=True,
                output_attentions=attention,
            )

    return call


def _cast(train_on_batch: Callable[..., Any], workload: Workload) -> Callable[..., Any]:
    """Forward passes and losses in the workload's precision, as TextBrewer's own option for fp16 does them."""

    def cast(*args: Any) -> Any:
        with workload.autocast():
            return train_on_batch(*args)

    return cast


def _adaptor(batch: Fields, outputs: Any) -> dict[str, Any]:
    found = {"logits": outputs.logits, "hidden": outputs.hidden_states, "inputs_mask": batch["attention_mask"]}
    return found if outputs.attentions is None else {**found, "attention": outputs.attentions}


def _matches(method: Matched, lr: float) -> dict[str, dict[str, Any]]:
    """TextBrewer's, by our names of the losses. Hidden states count from the embeddings, attention from layer 1."""
    student, (teacher,) = method.student, method.teachers
    wide = {} if student.hidden == teacher.hidden else {"proj": ["linear", student.hidden, teacher.hidden, {"lr": lr}]}
    found = {
        f"hidden_{own}": {"layer_S": own, "layer_T": source, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
        | wide
        for own, source in {0: 0, **method.pairs}.items()
    }
    if method.config.attention:
        for own, source in method.pairs.items():
            match = {
                "layer_S": own - 1,
                "layer_T": source - 1,
                "feature": "attention",
                "loss": "attention_mse",
                "weight": 1,
            }
            found[f"attention_{own}"] = match
    return found


class _Writer:
    """Takes the place of tensorboard's."""

    def __init__(self, matches: dict[str, dict[str, Any]], see: LossObserver) -> None:
        named = {
            f"unweighted_{m['feature']}_{m['loss']}_{m['layer_S']}_{m['layer_T']}": own for own, m in matches.items()
        }
        self._names = {"total_loss": "loss", "unweighted_kd_loss": "kd", **named}
        self._see = see

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._see(self._names[name.removeprefix("scalar/")], value)
