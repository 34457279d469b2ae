"""A method with one mistake fails exactly the check for it; a method that is only unusual fails none."""

import random
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from harness import Method, MethodConfig, ModelOutputs, Needs, Problem, Stage, layers
from harness.api.losses import projection, task_loss, token_mse, unit_vectors
from harness.testing import check_method, declaration_checks, gradient_checks
from harness.testing.method_cases import Subject
from harness.testing.tiny_runs import STEPS


class Right(Method):
    """A correct method: projected last hidden states, and the labels."""

    name = "right"
    extra: tuple = ()

    def stages(self):
        own, theirs = f"hidden[{self.student.layers}]", f"hidden[{self.teachers[0].layers}]"
        return [Stage("only", Needs(student=["logits", own, *self.extra], teachers=[[theirs]]))]

    def modules(self, student, teachers):
        return torch.nn.ModuleDict({"map": projection(student.hidden, teachers[0].hidden)})

    def losses(self, step, batch, student, teachers):
        own = step.modules["map"](student.hidden[self.student.layers])
        distance = self.distance(own, teachers[0].hidden[self.teachers[0].layers], batch)
        return {"distance": distance, "task": task_loss(student.logits, batch)}

    def distance(self, own, theirs, batch):
        return token_mse(own, theirs, batch.mask)


class CountsPadding(Right):
    def distance(self, own, theirs, batch):
        return F.mse_loss(own.float(), theirs.float())


class CountsTokensOfTheBatch(Right):
    def distance(self, own, theirs, batch):
        return (own.float() - theirs.float()).square().mean(-1)[batch.mask].mean()


class CouplesUndeclared(Right):
    def distance(self, own, theirs, batch):
        mine, other = unit_vectors(own[:, 0]), unit_vectors(theirs[:, 0])
        return (mine @ mine.T - other @ other.T).square().mean()


class ComparesNeighbours(Right):
    """Declared batch_dependent, so it may compare examples, but not by their positions."""

    def stages(self):
        (stage,) = super().stages()
        return [replace(stage, batch_dependent=frozenset({"distance"}))]

    def distance(self, own, theirs, batch):
        mine, other = (unit_vectors(hidden[:, 0]) for hidden in (own, theirs))
        return ((mine[1:] * mine[:-1]).sum(-1) - (other[1:] * other[:-1]).sum(-1)).square().mean()


class ReadsUndeclared(Right):
    def losses(self, step, batch, student, teachers):
        return {**super().losses(step, batch, student, teachers), "more": student.hidden[1].square().mean()}


class DeclaresUnread(Right):
    extra = ("embeddings", "scores[1]")


class ChangesTheTeacher(Right):
    def distance(self, own, theirs, batch):
        return super().distance(own, theirs.masked_fill_(~batch.mask[..., None], 0), batch)


class TrainsAParameterOfItsOwn(Right):
    def modules(self, student, teachers):
        self.scale = torch.nn.Parameter(torch.ones(()))
        return super().modules(student, teachers)

    def distance(self, own, theirs, batch):
        if self.scale.grad is not None:
            with torch.no_grad():
                self.scale -= 0.1 * self.scale.grad
            self.scale.grad = None
        return self.scale * super().distance(own, theirs, batch)


class CountsInPython(Right):
    calls = 0

    def distance(self, own, theirs, batch):
        self.calls += 1
        return 0.5**self.calls * super().distance(own, theirs, batch)


class LosesItsEpsilonInHalfPrecision(Right):
    def distance(self, own, theirs, batch):
        two = torch.ones(2, 2) @ torch.ones(2, 2)
        epsilon = (two + 1e-3 - two).mean()
        return super().distance(own, theirs, batch) * 1e-3 / epsilon


class ReturnsOtherStages(Right):
    calls = 0

    def stages(self):
        self.calls += 1
        (stage,) = super().stages()
        return [Stage(stage.name, stage.needs, share=self.calls)]


class TeachesItsMapAlone(Right):
    def losses(self, step, batch, student, teachers):
        own = step.modules["map"](student.hidden[self.student.layers].detach())
        distance = self.distance(own, teachers[0].hidden[self.teachers[0].layers], batch)
        return {"distance": distance, "task": task_loss(student.logits, batch)}


class PullsAwayFromTheTeacher(Right):
    def distance(self, own, theirs, batch):
        return super().distance(own, 2 * theirs, batch)


class TakesTheRoot(Right):
    """The gradient of the root is infinite at zero."""

    def distance(self, own, theirs, batch):
        by_token = (own.float() - theirs.float()).square().mean(-1).masked_fill(~batch.mask, 0)
        return (by_token.sum(-1) / batch.lengths).sqrt().mean()


class TakesNoOtherWidth(Right):
    def modules(self, student, teachers):
        return torch.nn.ModuleDict({"map": torch.nn.Identity()})


class RefusesInFewWords(Right):
    def check(self, task, student, teachers):
        return [] if student.hidden == teachers[0].hidden else [Problem("the widths differ")]


class BecomesNaN(Right):
    def distance(self, own, theirs, batch):
        return super().distance(own, theirs, batch) * float("nan")


class HasNoTerms(Right):
    def losses(self, step, batch, student, teachers):
        super().losses(step, batch, student, teachers)
        return {}


class HasAVector(Right):
    def distance(self, own, theirs, batch):
        return (own - theirs).square().mean((1, 2))


class TakesTheTotalsName(Right):
    def losses(self, step, batch, student, teachers):
        terms = super().losses(step, batch, student, teachers)
        return {"distance": terms["distance"], "loss": terms["task"]}


class WeighsNoTerm(Right):
    def weights(self, step):
        return {"distanze": 2.0}


class CannotBeTrained(Right):
    """A mistake that shows only in a run."""

    def losses(self, step, batch, student, teachers):
        if step.generator.initial_seed() > 10:
            raise ZeroDivisionError("a mistake")
        return super().losses(step, batch, student, teachers)


class DrawsWithPython(Right):
    """Uses a generator that all runs share and that no checkpoint stores."""

    def distance(self, own, theirs, batch):
        return (1 + random.random()) * super().distance(own, theirs, batch)


class GetsNaNLater(Right):
    """A where() whose unused branch has a gradient that is not finite, from the second step on."""

    def losses(self, step, batch, student, teachers):
        self.late = step.index == step.steps - 1 and step.steps == STEPS
        return super().losses(step, batch, student, teachers)

    def distance(self, own, theirs, batch):
        distance = super().distance(own, theirs, batch)
        return distance + torch.where(torch.tensor(True), 0.0, (0 * distance).sqrt()) if self.late else distance


class ItsStateBecomesNaN(Right):
    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("mean", torch.zeros(()))
        return torch.nn.ModuleDict({**super().modules(student, teachers), "memory": memory})

    def losses(self, step, batch, student, teachers):
        terms = super().losses(step, batch, student, teachers)
        step.modules["memory"].mean.copy_(torch.tensor(float("nan")))
        return terms


class ReadsLabelsAndTakesTheRoot(TakesTheRoot):
    """Exempt from being zero at identity, but not from a finite gradient."""

    def losses(self, step, batch, student, teachers):
        terms = super().losses(step, batch, student, teachers)
        return {"both": terms["distance"] + terms["task"]}


class ReadsTheWrongRowsOfItsState(Right):
    """Once its memory is filled, the term depends on the order of the batch."""

    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("bank", torch.zeros(64, student.hidden))
        return torch.nn.ModuleDict({**super().modules(student, teachers), "memory": memory})

    def losses(self, step, batch, student, teachers):
        terms, bank = super().losses(step, batch, student, teachers), step.modules["memory"].bank
        own = student.hidden[self.student.layers][:, 0].float()
        terms["memory"] = (own * bank[: len(own)].clone()).mean()
        bank[list(batch.rows)] = own.detach()
        return terms


class NotesATensor(Right):
    def notes(self):
        return {"map": torch.ones(2)}


class MisspellsAnOutput(Right):
    extra = ("hiden[1]",)


class HasNoStages(Right):
    def stages(self):
        return []


class ReturnsOneStage(Right):
    def stages(self):
        return super().stages()[0]


class ReturnsNames(Right):
    def stages(self):
        return ["only"]


class ForgetsTheTeacher(Right):
    def stages(self):
        (stage,) = super().stages()
        return [replace(stage, needs=Needs(stage.needs.student))]


class UnpacksTheForgottenTeacher(ForgetsTheTeacher):
    def losses(self, step, batch, student, teachers):
        (teacher,) = teachers
        return super().losses(step, batch, student, [teacher])


class NumbersATerm(Right):
    def losses(self, step, batch, student, teachers):
        return {**super().losses(step, batch, student, teachers), 1: task_loss(student.logits, batch)}


class LogsAVector(Right):
    def losses(self, step, batch, student, teachers):
        step.log("widths", student.logits.mean(0))
        return super().losses(step, batch, student, teachers)


class LogsText(Right):
    def losses(self, step, batch, student, teachers):
        step.log("widths", "abc")
        return super().losses(step, batch, student, teachers)


class TakesNoSubclass(Right):
    """It reads outputs in a way that cannot be recorded."""

    def losses(self, step, batch, student, teachers):
        if type(student) is not ModelOutputs:
            raise TypeError("unknown outputs")
        return super().losses(step, batch, student, teachers)


def reads_as(name, states):
    def losses(self, step, batch, student, teachers):
        sizes = [token_mse(state, torch.zeros_like(state), batch.mask) for state in states(student)]
        return {**Right.losses(self, step, batch, student, teachers), "size": sum(sizes)}

    return type(name, (Right,), {"extra": tuple(layers("hidden", [1, 2])), "losses": losses})


def each(states):
    return [states[layer] for layer in states]


READERS = [
    reads_as("ByCopy", lambda student: each(student.hidden.copy())),
    reads_as("ByUnion", lambda student: each(student.hidden | {})),
    reads_as("ByValues", lambda student: list(student.hidden.values())),
    reads_as("ByItems", lambda student: [state for _, state in student.hidden.items()]),
    reads_as("ByGet", lambda student: [student.hidden.get(layer) for layer in student.hidden]),
    reads_as("AsDict", lambda student: dict(student.hidden).values()),
    reads_as("Mapped", lambda student: student.mapped(lambda tensor: tensor.float()).hidden.values()),
    reads_as("Replaced", lambda student: replace(student).hidden.values()),
]


class ReadsPartOfACopy(Right):
    extra = ("embeddings",)

    def losses(self, step, batch, student, teachers):
        return super().losses(step, batch, student.mapped(torch.clone), teachers)


class CountsExamples(Right):
    def stages(self):
        (stage,) = super().stages()
        return [replace(stage, steps=self.task.examples or None)]


class HalvesASmallTermInHalfPrecision(Right):
    def distance(self, own, theirs, batch):
        return super().distance(own, theirs, batch) / (100 if torch.is_autocast_enabled("cpu") else 50)


class ReturnsOneModule(Right):
    def modules(self, student, teachers):
        return projection(student.hidden, teachers[0].hidden)


MISTAKES = [
    (
        NotesATensor,
        "training",
        r"before step 1 \(only\): TypeError: notes\(\)\['map'\] is of type Tensor; expected plain",
    ),
    (MisspellsAnOutput, "stages", r"ValueError: Needs: unknown output 'hiden\[1\]'; did you mean 'hidden'"),
    (HasNoStages, "stages", r"stages\(\) returned no stages"),
    (ReturnsOneStage, "stages", r"stages\(\) returned a Stage; expected a list of Stage"),
    (ReturnsNames, "stages", r"stages\(\) returned a str among its stages; expected a list of Stage"),
    (ForgetsTheTeacher, "terms", r"IndexError: .*; stage 'only' declares no outputs of a teacher, .* teachers=\[\["),
    (UnpacksTheForgottenTeacher, "terms", r"ValueError: .*; stage 'only' declares no outputs of a teacher"),
    (NumbersATerm, "terms", r"losses\(\) names a term 1; expected a string"),
    (LogsAVector, "terms", r"log\(\) got a tensor of shape \(3,\) for 'widths'; expected a number or a scalar tensor"),
    (LogsText, "terms", r"log\(\) got a str for 'widths'; expected a number or a scalar tensor"),
    (TakesNoSubclass, "needs", "TypeError: unknown outputs, only while it is recorded which outputs are read"),
    (ReadsPartOfACopy, "needs", "embeddings of student: declared and never read"),
    (CountsExamples, "stages", r"stages\(\) depends on task.examples, which is 0 in planning"),
    (HalvesASmallTermInHalfPrecision, "half precision", "distance is 0.0.*; in bfloat16 0.0"),
    (ReturnsOneModule, "stages", r"modules\(\) returned a Linear; expected an nn.ModuleDict"),
    (CountsPadding, "padding", r"distance is [\d.e-]+; with 5 more columns of padding"),
    (CountsTokensOfTheBatch, "mean over examples", "distance is .* as the mean over the batch's parts"),
    (CouplesUndeclared, "mean over examples", "distance is .* as the mean over the batch's parts"),
    (ComparesNeighbours, "order of examples", "distance is .* with its examples in another order"),
    (ReadsUndeclared, "needs", r"hidden\[1\] of student is read but not declared"),
    (DeclaresUnread, "needs", r"embeddings of student, scores\[1\] of student: declared and never read"),
    (ChangesTheTeacher, "teacher frozen", "a tensor of teacher 1, which other runs share, was changed in place"),
    (TrainsAParameterOfItsOwn, "resume", "differs from an uninterrupted run's by up to"),
    (CountsInPython, "resume", "differs from an uninterrupted run's by up to"),
    (LosesItsEpsilonInHalfPrecision, "half precision", "distance is (inf|nan) in bfloat16"),
    (ReturnsOtherStages, "stages", r"stages\(\) returned different stages"),
    (TeachesItsMapAlone, "gradients", "distance: no gradient reaches a parameter of the student"),
    (PullsAwayFromTheTeacher, "zero at identity", "equals its teacher, distance is .* with gradient norm"),
    (TakesTheRoot, "zero at identity", "distance has a gradient that is not finite"),
    (TakesNoOtherWidth, "other sizes", "hidden 8, stage 'only': RuntimeError: .* `check` should refuse it"),
    (RefusesInFewWords, "other sizes", "without the two numbers that do not fit: the widths differ"),
    (BecomesNaN, "terms", "distance is nan"),
    (HasNoTerms, "terms", r"losses\(\) returned no terms"),
    (HasAVector, "terms", r"loss term 'distance' has shape \(4,\)"),
    (TakesTheTotalsName, "terms", "names a term 'loss', which is reserved for the weighted total"),
    (WeighsNoTerm, "training", r"weights\(\) names distanze, but losses\(\) returned no such term"),
    (GetsNaNLater, "training", r"after step 5 \(only\), .* is not finite"),
    (ItsStateBecomesNaN, "training", r"after step 1 \(only\), modules.memory.mean is not finite"),
    (ReadsLabelsAndTakesTheRoot, "zero at identity", "both has a gradient that is not finite"),
    (CannotBeTrained, "training", r"step 1 \(only\): ZeroDivisionError: a mistake"),
]


def test_without_a_mistake_all_pass():
    conformance = check_method(Right)
    assert conformance.ok, str(conformance)
    assert {result.status for result in conformance.results if result.task != "text"} == {"passed"}


@pytest.mark.parametrize(("method", "check", "words"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_fails_its_check_and_no_other(method, check, words):
    (failed,) = check_method(method, kinds=["classification"]).failed
    assert failed.check == check
    assert re.search(words, failed.detail), failed.detail


class IgnoresClassWeights(Right):
    def losses(self, step, batch, student, teachers):
        return {**super().losses(step, batch, student, teachers), "own": F.cross_entropy(student.logits, batch.labels)}


def test_a_term_that_ignores_class_weights_is_remarked():
    remark = declaration_checks.terms(Subject(IgnoresClassWeights, MethodConfig(), "classification"))
    assert remark == "own: labels without batch.class_weights; task_loss or weights of its own would count them"
    assert declaration_checks.terms(Subject(Right, MethodConfig(), "classification")) == ""


@pytest.mark.parametrize("method", READERS, ids=lambda method: method.__name__)
def test_outputs_may_be_read_in_every_way(method):
    declaration_checks.needs(Subject(method, method.Config(), "classification"))


class MapsLayers(Right):
    """Every student layer learns from the teacher layer `source`."""

    def stages(self):
        own, theirs = (layers("hidden", range(1, model.layers + 1)) for model in (self.student, self.teachers[0]))
        return [Stage("only", Needs(student=own, teachers=[theirs]))]

    def check(self, task, student, teachers):
        return [Problem("unequal layers 1 and 2")] if student.layers != teachers[0].layers else []

    def modules(self, student, teachers):
        return torch.nn.ModuleDict()

    def losses(self, step, batch, student, teachers):
        pairs = [(student.hidden[m], teachers[0].hidden[self.source(m)]) for m in student.hidden]
        return {"hidden": sum(token_mse(own, theirs, batch.mask) for own, theirs in pairs)}


@pytest.mark.parametrize(
    ("source", "remark"),
    [
        (lambda self, layer: layer, "zero: hidden"),
        (
            lambda self, layer: self.teachers[0].layers + 1 - layer,
            "zero: hidden; hidden is not zero with two layers: is its layer mapping meant?",
        ),
    ],
)
def test_a_mapping_that_is_no_identity_for_equal_layers_is_remarked(source, remark):
    method = type("Maps", (MapsLayers,), {"source": source})
    assert gradient_checks.identity(Subject(method, method.Config(), "classification")) == remark


def test_random_numbers_of_python_fail_resume_and_cohort():
    failed = check_method(DrawsWithPython, kinds=["classification"]).failed
    assert [result.check for result in failed] == ["resume", "alone = cohort"]


class CountsPaddingLater(Right):
    def losses(self, step, batch, student, teachers):
        self.late = step.index >= 5
        return super().losses(step, batch, student, teachers)

    def distance(self, own, theirs, batch):
        return F.mse_loss(own.float(), theirs.float()) if self.late else super().distance(own, theirs, batch)


def test_terms_that_depend_on_progress_are_checked_at_later_steps():
    (failed,) = check_method(CountsPaddingLater, kinds=["classification"]).failed
    assert failed.check == "padding"
    assert failed.detail.startswith("stage 'only', step 6 of 10: distance is")


class ReadsMoreLater(Right):
    """The outputs that it reads depend on progress; its needs are their union."""

    extra = ("embeddings",)

    def losses(self, step, batch, student, teachers):
        terms = super().losses(step, batch, student, teachers)
        return (
            {**terms, "more": token_mse(student.embeddings, 0 * student.embeddings, batch.mask)}
            if step.index
            else terms
        )


class Anneals(Right):
    """Zero at identity only at the end of its stage."""

    def losses(self, step, batch, student, teachers):
        self.share = (step.index + 1) / step.steps
        return super().losses(step, batch, student, teachers)

    def distance(self, own, theirs, batch):
        return super().distance(own, self.share * theirs, batch)


class BeginsAnywhere(Right):
    """Its projection is not initialized to the identity."""

    def modules(self, student, teachers):
        return torch.nn.ModuleDict({"map": torch.nn.Linear(student.hidden, teachers[0].hidden)})


class CouplesDeclared(CouplesUndeclared):
    def stages(self):
        (stage,) = super().stages()
        return [replace(stage, batch_dependent=frozenset({"distance"}))]


class Forgets(Right):
    """Drops tokens at random, with the run's generator."""

    def losses(self, step, batch, student, teachers):
        self.generator = step.generator
        return super().losses(step, batch, student, teachers)

    def distance(self, own, theirs, batch):
        kept = torch.rand(own.shape[:2], generator=self.generator) < 0.9
        return token_mse(own, theirs, batch.mask & kept | (torch.arange(own.shape[1]) == 0))


class RemembersInABuffer(Right):
    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("calls", torch.zeros(()))
        return torch.nn.ModuleDict({**super().modules(student, teachers), "memory": memory})

    def losses(self, step, batch, student, teachers):
        step.modules["memory"].calls += 1
        terms = super().losses(step, batch, student, teachers)
        return {**terms, "distance": terms["distance"] * 0.5 ** step.modules["memory"].calls}


class SelfDistillation(Right):
    """A method without a teacher."""

    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(["logits"]))]

    def modules(self, student, teachers):
        return torch.nn.ModuleDict()


class DropsOutTwice(SelfDistillation):
    """Compares two forward passes (R-Drop): zero without dropout."""

    def losses(self, step, batch, student, teachers):
        other = step.student.run(["logits"]).logits
        return {
            "consistency": (student.logits - other).square().mean(),
            "task": task_loss(student.logits, batch),
        }


class EnsemblesOverTime(SelfDistillation):
    """Compares with a moving average of each example's predictions, which exists from the second epoch on."""

    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("average", torch.zeros(64, self.task.num_labels))
        return torch.nn.ModuleDict({"memory": memory})

    def losses(self, step, batch, student, teachers):
        average, rows = step.modules["memory"].average, list(batch.rows)
        known = float(step.epoch >= 1)
        terms = {
            "consistency": known * (student.logits.softmax(-1) - average[rows]).square().sum(-1).mean(),
            "task": task_loss(student.logits, batch),
        }
        average[rows] = 0.6 * average[rows] + 0.4 * student.logits.detach().float().softmax(-1)
        return terms


class RemembersNegatives(Right):
    """Contrasts with a memory of earlier examples, which is empty at first (CoDIR)."""

    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("bank", torch.zeros(64, teachers[0].hidden))
        memory.register_buffer("filled", torch.zeros(64, dtype=torch.bool))
        return torch.nn.ModuleDict({**super().modules(student, teachers), "memory": memory})

    def losses(self, step, batch, student, teachers):
        terms, memory = super().losses(step, batch, student, teachers), step.modules["memory"]
        own, theirs = (
            unit_vectors(hidden[:, 0])
            for hidden in (student.hidden[self.student.layers], teachers[0].hidden[self.teachers[0].layers])
        )
        if memory.filled.any():
            negatives = own @ memory.bank[memory.filled].T  # indexing copies
            positive = (own * theirs).sum(-1, keepdim=True)
            terms["contrast"] = -torch.cat([positive, negatives], 1).log_softmax(-1)[:, 0].mean()
        else:
            terms["contrast"] = 0 * own.sum()
        memory.bank[list(batch.rows)], memory.filled[list(batch.rows)] = theirs.detach(), True
        return terms

    def weights(self, step):
        return {"contrast": 0.1}


class ReadsLayersAtRandom(Right):
    """The layer of the teacher that it reads is drawn for each epoch (RAIL-KD)."""

    def stages(self):
        own = f"hidden[{self.student.layers}]"
        theirs = [f"hidden[{i}]" for i in range(1, self.teachers[0].layers + 1)]
        return [Stage("only", Needs(student=["logits", own], teachers=[theirs]))]

    def losses(self, step, batch, student, teachers):
        layer = random.Random(f"{self.seed} {int(step.epoch)}").randint(1, self.teachers[0].layers)
        own = step.modules["map"](student.hidden[self.student.layers])
        return {
            "distance": self.distance(own, teachers[0].hidden[layer], batch),
            "task": task_loss(student.logits, batch),
        }


class BeginsAtZero(Right):
    """Its projection is zero at first, so the student has no gradient before the first update."""

    def modules(self, student, teachers):
        map_ = torch.nn.Linear(student.hidden, teachers[0].hidden)
        torch.nn.init.zeros_(map_.weight)
        return torch.nn.ModuleDict({"map": map_})


@pytest.mark.parametrize(
    "method", [DropsOutTwice, EnsemblesOverTime, RemembersNegatives, ReadsLayersAtRandom, BeginsAtZero]
)
def test_methods_that_need_several_steps_or_dropout_pass(method):
    conformance = check_method(method, kinds=["classification", "multilabel"])
    assert conformance.ok, str(conformance)


def test_state_that_depends_on_the_order_of_the_batch_is_found_after_training():
    failed = {result.check: result.detail for result in check_method(ReadsTheWrongRowsOfItsState, kinds=["qa"]).failed}
    assert "stage 'only', step 10 of 10, after training: memory is" in failed["order of examples"]


@pytest.mark.parametrize(
    ("method", "identity"),
    [
        (ReadsMoreLater, "zero: distance"),
        (Anneals, "zero: distance"),
        (BeginsAnywhere, "distance depends on trained modules"),
        (CouplesDeclared, "zero: distance"),
        (Forgets, "zero: distance"),
        (RemembersInABuffer, "zero: distance"),
    ],
)
def test_unusual_methods_pass(method, identity):
    conformance = check_method(method, kinds=["classification"])
    assert conformance.ok, str(conformance)
    assert {result.check: result.detail for result in conformance.results}["zero at identity"] == identity


class OfTwoTeachers(Right):
    min_teachers = max_teachers = 2

    def stages(self):
        (stage,) = super().stages()
        return [Stage("only", Needs(stage.needs.student, [stage.needs.teachers[0]] * 2))]


def test_an_unread_second_teacher_is_reported():
    (failed,) = check_method(OfTwoTeachers, kinds=["classification"]).failed
    assert failed.detail == "stage 'only', 2 teachers: hidden[4] of teacher 2: declared and never read"
