"""Densely guided knowledge distillation: Son et al. 2021, arXiv 2009.08825, section 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from harness import (
    Batch,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Search,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
)
from harness.api.losses import soft_target_loss, task_loss
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive


class DGKDConfig(MethodConfig):
    """Options of dgkd. The defaults are those of the authors' code."""

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        5.0, gt=0, description="temperature tau of the soft targets; each kd term is multiplied by its square"
    )
    kd_weight: Annotated[float, Search(0.1, 1.0)] = Field(
        1.0, ge=0, le=1, description="lambda: weight of the soft targets of each teacher; the labels have 1 - lambda"
    )
    drop_num: int = Field(
        1, ge=0, description="number of teachers that are dropped at random in each step; a single one is never dropped"
    )
    keep: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="probability with which each teacher is kept in a step, in place of drop_num; a single one is"
        " always kept",
    )
    label_scale: Literal["once", "teachers"] = Field(
        "once",
        description="the labels have weight 1 - lambda once, or once for each teacher, as in a sum of pairwise losses",
    )
    kd_scale: Literal["paper", "code"] = Field(
        "paper",
        description="code: the kd terms of a classification task are divided by the number of classes, as in the"
        " authors' element-wise mean",
    )


class DGKD(Method):
    """The loss (1 - lambda) * task + lambda * (the sum of kd over the teachers that the step keeps).

    The teachers are T and its assistants A_1 to A_n: students of other rows of the suite, which learned in this way.
    """

    name = "dgkd"
    version = 3
    summary = "soft targets from the teacher and all assistants, some dropped in each step (Son et al. 2021)"
    group = "multi-teacher"
    citation = """@inproceedings{son2021densely,
  title = {Densely Guided Knowledge Distillation Using Multiple Teacher Assistants},
  author = {Son, Wonchul and Na, Jaemin and Choi, Junyong and Hwang, Wonjun},
  booktitle = {Proceedings of ICCV},
  year = {2021}
}"""
    Config = DGKDConfig
    max_teachers = None

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        drop, count = self.config.drop_num, len(teachers)
        if self.config.keep is None and drop > 1 and drop >= count:
            return [Problem(f"drop_num {drop} drops all of {count} teachers; it must be less than their number")]
        return ()

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]] * len(self.teachers)))]

    @property
    def terms(self) -> Sequence[str]:
        """The name of the term of each teacher."""
        return ["kd_T", *(f"kd_{i}" for i in range(1, len(self.teachers)))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        kd = {
            name: soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)
            for name, teacher in zip(self.terms, teachers, strict=True)
        }
        return {"task": task_loss(student.logits, batch), **kd}

    def weights(self, step: Step) -> Mapping[str, float]:
        kd, label = self.config.kd_weight, 1 - self.config.kd_weight
        if self.config.label_scale == "teachers":
            label *= len(self.teachers)
        if self.config.kd_scale == "code" and self.task.kind == "classification":
            kd /= self.task.num_labels
        kept = self.kept(step)
        return {"task": label, **{name: kd if i in kept else 0.0 for i, name in enumerate(self.terms)}}

    def kept(self, step: Step) -> frozenset[int]:
        """The teachers that the step keeps, by index.

        The draw depends on the run's seed and the step alone, so that all parts of a batch have the same one.
        """
        count = len(self.teachers)
        choice = SeededChoice(derive(self.seed, "dropped teachers", str(step.index)))
        if count == 1:
            return frozenset({0})
        if self.config.keep is not None:
            return frozenset(i for i in range(count) if choice.chance(self.config.keep))
        return frozenset(choice.some(range(count), count - self.config.drop_num))


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DGKD)
