"""MGSKD: structure at three granularities first (tokens, spans, samples), then predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    UserError,
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import nn, torch
from harness.api.losses import projection, soft_target_loss
from harness.api.wording import counted

from .spans import Spans, random_cuts, words
from .structure import mean_vector, pair_loss, sample_loss, triangle_loss

if TYPE_CHECKING:
    from torch import Tensor

RELATION_HEADS = 64
"""Relation heads of the paper, for widths that they divide."""

HEAD_WIDTH = 8
"""Least width of a relation head if their number is not given; the paper's heads are 12 wide."""


class MGSKDConfig(MethodConfig):
    """Options of mgskd."""

    spans: Literal["words", "random", "none"] = Field(
        "words", description="words: the tokens of a word; random: cuts at random places; none: no spans"
    )
    first_sample_layer: int | None = Field(
        None,
        ge=0,
        description="M: tokens and spans are compared in the layers before it (0: the embeddings), samples from it on;"
        " default: half of the student's layers",
    )
    relation_heads: int | None = Field(
        None,
        ge=1,
        description="A_r, which must divide the teacher's width; default: its largest divisor up to 64 that leaves"
        " heads of at least 8 features",
    )
    anchors: int = Field(20, ge=1, description="K1: tokens or spans of an example at which triangles are compared")
    partners: int = Field(20, ge=2, description="K2: tokens or spans that form triangles with each of them")
    pairs: bool = Field(True, description="compare pairs of tokens and of spans")
    triangles: bool = Field(True, description="compare triangles of tokens, of spans and of samples")
    token_weight: float = Field(1.0, ge=0, description="weight of token_pair and token_triplet")
    span_weight: float = Field(1.0, ge=0, description="weight of span_pair and span_triplet")
    sample_weight: float = Field(4.0, ge=0, description="weight of sample_triplet")
    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        1.0, gt=0, description="temperature of the prediction stage"
    )


class MGSKD(Method):
    """Stage structure: pairs and triangles of tokens, spans and samples; stage prediction: kd."""

    name = "mgskd"
    summary = "pairs and triangles of tokens, spans and samples first, then predictions (Liu et al. 2022)"
    group = "attention and relations"
    citation = """@inproceedings{liu2022multigranularity,
  title = {Multi-Granularity Structural Knowledge Distillation for Language Model Compression},
  author = {Liu, Chang and Tao, Chongyang and Feng, Jiazhan and Zhao, Dongyan},
  booktitle = {Proceedings of ACL},
  year = {2022}
}"""
    Config = MGSKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        heads, first = self.config.relation_heads, self.config.first_sample_layer
        if heads is not None and teacher.hidden % heads:
            problems.append(Problem(f"relation_heads is {heads}; {teacher.name} is {teacher.hidden} wide"))
        if first is not None and first > student.layers + 1:
            depth = counted(student.layers, "layer")
            problems.append(Problem(f"first_sample_layer is {first}; {student.name} has {depth}"))
        if not self._terms:
            problems.append(Problem("every loss of stage 'structure' of mgskd is off"))
        unmapped = layer_mapping.check("uniform", student.layers, teacher.layers)
        return problems + ([unmapped] if unmapped else [])

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layer of each student layer."""
        return layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)

    @property
    def relation_heads(self) -> int:
        """A_r."""
        if self.config.relation_heads is not None:
            return int(self.config.relation_heads)
        width = self.teachers[0].hidden
        most = max(1, min(RELATION_HEADS, width // HEAD_WIDTH))
        return next(heads for heads in range(most, 0, -1) if width % heads == 0)

    @property
    def first_sample_layer(self) -> int:
        """M."""
        first: int | None = self.config.first_sample_layer
        return self.student.layers // 2 if first is None else first

    @property
    def _terms(self) -> list[str]:
        """The names of the terms of stage structure."""
        units = [] if self.first_sample_layer == 0 else ["token", *(["span"] if self.config.spans != "none" else [])]
        pairs = [f"{unit}_pair" for unit in units if self.config.pairs]
        samples = ["sample"] if self.first_sample_layer <= self.student.layers else []
        return pairs + [f"{unit}_triplet" for unit in (*units, *samples) if self.config.triangles]

    def notes(self) -> Mapping[str, Any]:
        return {
            "layer_map": [list(sources) for sources in self.layer_map],
            "first_sample_layer": self.first_sample_layer,
            "relation_heads": self.relation_heads,
        }

    def stages(self) -> Sequence[Stage]:
        compared = self._compared_layers
        teacher = [self._teacher_layer(m) for m in compared]
        structure = Needs(student=_outputs(compared), teachers=[_outputs(teacher)])
        coupled = frozenset({"sample_triplet"}) & {*self._terms}
        return [
            Stage("structure", structure, share=2, batch_dependent=coupled),
            Stage("prediction", Needs(student=["logits"], teachers=[["logits"]]), share=1),
        ]

    @property
    def _compared_layers(self) -> list[int]:
        """The student layers that a term reads; 0: the embeddings."""
        lower = range(min(self.first_sample_layer, self.student.layers + 1))
        upper = range(self.first_sample_layer, self.student.layers + 1) if self.config.triangles else ()
        return [*lower, *upper] if self.config.pairs or self.config.triangles else []

    def _teacher_layer(self, m: int) -> int:
        return self.layer_map[m - 1][0] if m else 0

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        return nn.ModuleDict({"hidden": projection(student.hidden, teacher.hidden)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        if step.stage.name == "prediction":
            return {"kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)}
        spans = self._spans(step, batch)
        terms: dict[str, list[Tensor]] = {name: [] for name in self._terms}
        for m in self._compared_layers:
            own, theirs = step.modules["hidden"](_states(student, m)), _states(teacher, self._teacher_layer(m))
            for name, term in self._of_layer(m, batch, spans, own, theirs):
                terms[name].append(term)
        return {name: torch.stack(of_layers).sum() for name, of_layers in terms.items()}

    def weights(self, step: Step) -> Mapping[str, float]:
        weights = {"token": self.config.token_weight, "span": self.config.span_weight}
        by_unit = {f"{unit}_{kind}": w for unit, w in weights.items() for kind in ("pair", "triplet")}
        all_weights = {**by_unit, "sample_triplet": self.config.sample_weight}
        return {name: weight for name, weight in all_weights.items() if name in self._terms}

    def _spans(self, step: Step, batch: Batch) -> Spans | None:
        if self.config.spans == "none" or self.first_sample_layer == 0:
            return None
        if self.config.spans == "random":
            return random_cuts(batch.mask, step.generator)
        if batch.word_ids is None:
            raise UserError("mgskd with spans: words needs word_ids in the batch; or set spans: random or spans: none")
        return words(batch.word_ids)

    def _of_layer(
        self, m: int, batch: Batch, spans: Spans | None, own: Tensor, theirs: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """The terms of student layer m with its projected states and its teacher's, [B, N, H_T] each."""
        if m >= self.first_sample_layer:
            student, teacher = (mean_vector(states, batch.mask) for states in (own, theirs))
            yield "sample_triplet", sample_loss(student, teacher, self.relation_heads)
            return
        yield from self._of_units("token", own, theirs, batch.mask)
        if spans:
            yield from self._of_units("span", spans.means(own), spans.means(theirs), spans.mask)

    def _of_units(self, unit: str, own: Tensor, theirs: Tensor, mask: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The terms of one granularity from the vectors of its units, [B, U, H_T] each; `mask` is [B, U]."""
        heads = self.relation_heads
        if self.config.pairs:
            yield f"{unit}_pair", pair_loss(own, theirs, mask, heads)
        if self.config.triangles:
            sizes = {"anchors": self.config.anchors, "partners": self.config.partners}
            yield f"{unit}_triplet", triangle_loss(own, theirs, mask, heads, **sizes)


def _outputs(indices: Sequence[int]) -> list[str]:
    return [*(["embeddings"] if 0 in indices else []), *layers("hidden", [i for i in indices if i])]


def _states(outputs: ModelOutputs, layer: int) -> Tensor:
    return outputs.hidden[layer] if layer else outputs.embeddings
