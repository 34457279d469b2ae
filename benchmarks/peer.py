"""Runs TextBrewer's GeneralDistiller as in its README: adaptors, intermediate matches, outputs of the models."""

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
"""A batch as TextBrewer passes it to both models."""

LossObserver = Callable[[str, float], object]
"""Called with name (that of the harness) and value of each loss of each step."""


def fields(batch: Batch, length: int | None = None) -> Fields:
    """The inputs of a batch, padded to `length` tokens if given. Padding is masked, so its token id does not matter."""
    padding = 0 if length is None else length - batch.inputs["input_ids"].shape[1]
    return {name: F.pad(tensor, (0, padding)) for name, tensor in batch.inputs.items()}


def adapted(model: PreTrainedModel, entry: Entry) -> PreTrainedModel:
    """Switch to eager attention if attention probabilities are needed; the fused kernel does not return them."""
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
    observe: LossObserver = lambda name, value: None,
) -> Call:
    """TextBrewer's distillation of a fresh run of the harness, whose student and linear maps it starts from."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    assert isinstance(run.method, Matched)
    settings, steps, attention = workload.training, len(batches), bool(entry.options["attention"])
    matches = _matches(run.method, settings.lr)
    distiller = GeneralDistiller(
        # An existing folder, so that none is created; nothing is written to it.
        TrainingConfig(device=str(workload.device), output_dir=tempfile.gettempdir(), ckpt_steps=steps),
        DistillationConfig(
            temperature=run.method.config.temperature, kd_loss_type="ce", intermediate_matches=list(matches.values())
        ),
        model_T=teacher,
        model_S=adapted(run.student, entry),
        adaptor_T=_adaptor,
        adaptor_S=_adaptor,
    )
    for layer, module in run.modules.items():
        distiller.projs[int(layer)].load_state_dict(module.state_dict())
    distiller.tb_writer = _Writer(matches, observe)
    distiller.save_and_callback = lambda *arguments: None  # the cohort saves nothing either
    distiller.train_on_batch = _with_autocast(distiller.train_on_batch, workload)
    optimizer = adamw([run.student], weight_decay=settings.weight_decay)
    set_learning_rate(optimizer, settings.lr)
    schedule = {"lr_lambda": lambda step: learning_rate(1.0, step, steps, settings.warmup_ratio)}

    def call() -> None:
        with redirect_stderr(io.StringIO()), distiller:  # hides the progress bar
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


def _with_autocast(train_on_batch: Callable[..., Any], workload: Workload) -> Callable[..., Any]:
    """Run forward passes and losses in the workload's precision, like TextBrewer's own fp16 option."""

    def wrapped(*args: Any) -> Any:
        with workload.autocast():
            return train_on_batch(*args)

    return wrapped


def _adaptor(batch: Fields, outputs: Any) -> dict[str, Any]:
    adapted = {"logits": outputs.logits, "hidden": outputs.hidden_states, "inputs_mask": batch["attention_mask"]}
    return adapted if outputs.attentions is None else {**adapted, "attention": outputs.attentions}


def _matches(method: Matched, lr: float) -> dict[str, dict[str, Any]]:
    """Our loss name -> TextBrewer's match. Hidden states are indexed from the embeddings, attention from layer 1."""
    student, (teacher,) = method.student, method.teachers
    widths = student.hidden, teacher.hidden
    projection = {} if student.hidden == teacher.hidden else {"proj": ["linear", *widths, {"lr": lr}]}
    matches = {
        f"hidden_{layer}": {"layer_S": layer, "layer_T": source, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
        | projection
        for layer, source in {0: 0, **method.pairs}.items()
    }
    if method.config.attention:
        for layer, source in method.pairs.items():
            match = {
                "layer_S": layer - 1,
                "layer_T": source - 1,
                "feature": "attention",
                "loss": "attention_mse",
                "weight": 1,
            }
            matches[f"attention_{layer}"] = match
    return matches


class _Writer:
    """Replaces the TensorBoard writer and passes losses to an observer."""

    def __init__(self, matches: dict[str, dict[str, Any]], observe: LossObserver) -> None:
        names = {
            f"unweighted_{m['feature']}_{m['loss']}_{m['layer_S']}_{m['layer_T']}": name for name, m in matches.items()
        }
        self._names = {"total_loss": "loss", "unweighted_kd_loss": "kd", **names}
        self._observe = observe

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._observe(self._names[name.removeprefix("scalar/")], value)
