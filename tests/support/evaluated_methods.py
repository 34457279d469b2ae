"""A method's terms on one batch, with the plain numbers that an independent formula needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference import reading
from tests.reference.formulas import Case


def evaluate(
    name: str,
    kind: str,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    batch: Mapping[str, Tensor],
    *,
    stage: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> tuple[dict[str, float], Case]:
    """The method's terms, and the case that they were computed from."""
    built: dict[str, Any] = {}

    class Watched(Host.create().methods[name]):
        def losses(self, step, *given):
            built["maps"] = {
                key: each.weight.double().tolist() for key, each in step.modules.items() if hasattr(each, "weight")
            }
            built["options"] = self.config.model_dump()
            return super().losses(step, *given)

    terms = loss_terms(Watched, student=student, teachers=teachers, batch=batch, stage=stage, config=config)
    read = [reading.read(model, batch) for model in (student, *teachers)]
    case = Case(kind, read[0], read[1:], reading.labels(batch, kind), built["options"], built["maps"], [])
    return {term: value.item() for term, value in terms.items()}, case
