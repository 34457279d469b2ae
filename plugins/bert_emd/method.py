"""BERT-EMD: every student layer learns from every teacher layer, in amounts that an optimal transport chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, cast

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
    layers,
)
from harness.api import layer_mapping
from harness.api import losses as shared
from harness.api.lazy_torch import nn, torch

if TYPE_CHECKING:
    from torch import Tensor

    from .layer_weights import LayerWeights
    from .transport import Floats

Distance = Callable[[int, int], "Tensor"]
"""The distance of a student layer from a teacher layer: a scalar."""

COMPARED = ("attention", "hidden")
"""Terms with a transport between layers."""


class BertEMDConfig(MethodConfig):
    """Options of bert_emd. The authors' script has a beta for each task."""

    alpha: float = Field(
        1.0, ge=0, le=1, description="prediction: weight of the soft targets; the labels have 1 - alpha"
    )
    beta: Annotated[float, Search(0.001, 0.1, log=True)] = Field(
        0.01, ge=0, description="weight of attention, hidden and embedding (authors' script: 0.001 to 0.01)"
    )
    theta: float = Field(1.0, ge=0, description="weight of attention and hidden, in relation to embedding")
    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        1.0, gt=0, description="temperature of the soft targets (authors' script: 1)"
    )
    mapping: Literal["emd", "uniform"] = Field(
        "emd", description="emd: optimal transport between all layers; uniform: every (L_T / L_S)-th teacher layer"
    )
    cost_attention: bool = Field(
        True, description="move the layers' weights after each step, to layers that cost less; false: equal weights"
    )
    separate_weights: bool = Field(
        False, description="attention and hidden have layer weights of their own; false: the mean of both"
    )
    normalise: Literal["sum", "softmax"] = Field(
        "sum", description="new layer weights: divided by their sum (authors' code), or a softmax of them (paper)"
    )
    emd_temperature: float = Field(1.0, gt=0, description="temperature of normalise: softmax (authors' script: 1)")
    separate_projections: bool = Field(
        False, description="hidden: a projection for each student layer, not one for all"
    )
    attention: bool = Field(True, description="compare attention scores")
    hidden: bool = Field(True, description="compare hidden states")
    embedding: bool = Field(True, description="compare embeddings")


class BertEMD(Method):
    """beta * (theta * (attention + hidden) + embedding) + prediction."""

    name = "bert_emd"
    summary = "attention and hidden states of all layers, by optimal transport (Li et al. 2020)"
    group = "attention and relations"
    citation = """@inproceedings{li2020bertemd,
  title = {{BERT-EMD}: Many-to-Many Layer Mapping for {BERT} Compression with Earth Mover's Distance},
  author = {Li, Jianquan and Liu, Xiaokang and Zhao, Honghong and Xu, Ruifeng and Yang, Min and Jin, Yaohong},
  booktitle = {Proceedings of EMNLP},
  year = {2020}
}"""
    Config = BertEMDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if self.config.attention and student.heads != teacher.heads:
            heads = f"{student.name} has {student.heads}, {teacher.name} has {teacher.heads}"
            problems.append(
                Problem(f"attention of bert_emd needs equal numbers of heads (or attention: false): {heads}")
            )
        unmapped = layer_mapping.check("uniform", student.layers, teacher.layers)
        if self.config.mapping == "uniform" and self._compared and unmapped:
            problems.append(unmapped)
        return problems

    @property
    def _compared(self) -> list[str]:
        return [name for name in COMPARED if getattr(self.config, name)]

    @property
    def _depths(self) -> tuple[int, int]:
        return self.student.layers, self.teachers[0].layers

    @property
    def _moves_weights(self) -> bool:
        return bool(self.config.mapping == "emd" and self.config.cost_attention)

    def stages(self) -> Sequence[Stage]:
        needs = Needs(self._outputs(self.student), teachers=[self._outputs(self.teachers[0])])
        # The transport is that of the batch's mean distances, so that both terms depend on its examples.
        coupled = frozenset(self._compared) if self.config.mapping == "emd" else frozenset()
        return [Stage("distill", needs, batch_dependent=coupled)]

    def _outputs(self, shape: ModelShape) -> list[str]:
        """The outputs of a model. Queries and keys replace the scores, which take much more memory."""
        names = [*(["queries", "keys"] if self.config.attention else []), *(["hidden"] if self.config.hidden else [])]
        layered = [need for name in names for need in layers(name, range(1, shape.layers + 1))]
        return ["logits", *(["embeddings"] if self.config.embedding else []), *layered]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        names = ["embedding"] if self.config.embedding else []
        if self.config.hidden:
            names += list(dict.fromkeys(map(self._projection, range(1, student.layers + 1))))
        from .layer_weights import LayerWeights

        modules: dict[str, nn.Module] = {n: shared.projection(student.hidden, teachers[0].hidden) for n in names}
        weights = dict.fromkeys(map(self._weights, self._compared)) if self._moves_weights else {}
        return nn.ModuleDict({**modules, **{name: LayerWeights(*self._depths) for name in weights}})

    def _projection(self, layer: int) -> str:
        """The name of the projection of a student layer's hidden states."""
        return f"hidden_{layer}" if self.config.separate_projections else "hidden"

    def _weights(self, term: str) -> str:
        """The name of the layer weights of `attention` or `hidden`."""
        return f"{term}_weights" if self.config.separate_weights else "layer_weights"

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        terms = {"prediction": self._prediction(batch, student, teacher)}
        if self.config.embedding:
            embedding = step.modules["embedding"](student.embeddings)
            terms["embedding"] = shared.token_mse(embedding, teacher.embeddings, batch.mask)

        def attention(i: int, j: int) -> Tensor:
            own, theirs = (student.queries[i], student.keys[i]), (teacher.queries[j], teacher.keys[j])
            return shared.score_mse(own, [theirs], batch.mask)

        def hidden(i: int, j: int) -> Tensor:
            own = step.modules[self._projection(i)](student.hidden[i])
            return shared.token_mse(own, teacher.hidden[j], batch.mask)

        distances: dict[str, Distance] = {"attention": attention, "hidden": hidden}
        return terms | {name: self._transported(step, name, distances[name]) for name in self._compared}

    def weights(self, step: Step) -> Mapping[str, float]:
        beta, theta = self.config.beta, self.config.theta
        weights = {**dict.fromkeys(self._compared, beta * theta), "prediction": 1.0}
        return {**weights, "embedding": beta} if self.config.embedding else weights

    def after_step(self, step: Step) -> None:
        """Cost attention: move the layers' weights to those that cost less."""
        if not self._moves_weights:
            return
        import numpy as np

        new: dict[str, list[tuple[Floats, Floats]]] = {}
        for term in self._compared:
            name, costs = self._weights(term), step.scratch[term]
            rows, columns = _layer_weights(step, name).values()
            new.setdefault(name, []).append((self._updated(rows, costs.sum(1)), self._updated(columns, costs.sum(0))))
        for name, of_terms in new.items():
            student, teacher = (np.mean(weights, axis=0) for weights in zip(*of_terms, strict=True))
            _layer_weights(step, name).set(student, teacher)
            for side, weights in (("student", student), ("teacher", teacher)):
                for layer, weight in enumerate(weights, start=1):
                    step.log(f"{name}.{side}[{layer}]", float(weight))

    def _updated(self, weights: Floats, costs: Floats) -> Floats:
        from .transport import updated

        return updated(weights, costs, self.config.normalise, self.config.emd_temperature)

    def _prediction(self, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """alpha * kd + (1 - alpha) * task."""
        kd = shared.soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)
        alpha: float = self.config.alpha
        return alpha * kd + (1 - alpha) * shared.task_loss(student.logits, batch)

    def _transported(self, step: Step, term: str, distance: Distance) -> Tensor:
        """sum_ij F_ij d_ij; F is constant for the gradient."""
        if self.config.mapping == "uniform":
            pairs = enumerate(layer_mapping.layer_map("uniform", *self._depths, self.seed), start=1)
            return torch.stack([distance(i, j) for i, (j,) in pairs]).mean()
        transport, costs = self._transport(step, term, distance)
        step.scratch[term] = transport * costs
        # Distances of pairs without transport are not computed again, since each of them keeps its maps for backward.
        moved = [(int(i), int(j)) for i, j in zip(*(transport > 0).nonzero(), strict=True)]
        return torch.stack([float(transport[i, j]) * distance(i + 1, j + 1) for i, j in moved]).sum()

    def _transport(self, step: Step, term: str, distance: Distance) -> tuple[Floats, Floats]:
        """F and d, [L_S, L_T] each."""
        import numpy as np

        from .transport import plan

        own, theirs = self._depths
        with torch.no_grad():
            values = [distance(i, j) for i in range(1, own + 1) for j in range(1, theirs + 1)]
            costs: Floats = torch.stack(values).cpu().double().numpy().reshape(own, theirs)
        rows, columns = np.full(own, 1 / own), np.full(theirs, 1 / theirs)
        if self._moves_weights:
            rows, columns = _layer_weights(step, self._weights(term)).values()
        return plan(costs, rows, columns), costs


def _layer_weights(step: Step, name: str) -> LayerWeights:
    return cast("LayerWeights", step.modules[name])
