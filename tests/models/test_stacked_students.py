"""Several models in one pass: outputs, gradients and dropout are those of each model alone."""

import weakref

import pytest
import torch

from harness.models import memory_errors, stack_check, stacked_functions
from harness.models.capture import Capture
from harness.models.stacked_students import StackedStudents
from harness.testing import tiny_batch, tiny_model

NEEDS = frozenset({"logits", "hidden[1]", "queries[2]", "scores[1]"})
COUNT = 3


@pytest.fixture(params=["separate", "batched"])
def exact(request, monkeypatch):
    """Whether bits are those of one model alone."""
    if request.param == "batched":
        monkeypatch.setattr(stacked_functions, "SEPARATE_DEVICES", frozenset())
    return request.param == "separate"


def captures(kind, **settings):
    made = [tiny_model(kind=kind, seed=seed, settings=settings).train() for seed in range(COUNT)]
    return [Capture(model) for model in made]


def inputs(kind):
    batch = tiny_batch(kind, batch=3, length=11)
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def losses(outputs):
    """Two uses of one output, and no use of the queries."""
    terms = [outputs.logits.square().mean(), outputs.hidden[1].abs().mean(), outputs.hidden[1][:, 0].sum()]
    return sum(terms) + outputs.scores[1].sin().mean()


def alone(capture, batch, seed):
    """Gradients by parameter, and the next random number."""
    torch.manual_seed(seed)
    losses(capture.run(batch, NEEDS)).backward()
    return {name: p.grad for name, p in capture.model.named_parameters()}, torch.rand(())


@pytest.mark.parametrize("kind", ["classification", "text"])
def test_gradients_and_dropout_are_those_of_each_model(kind, exact):
    """The output layer of a masked language model is tied to its embeddings."""
    batch = inputs(kind)
    expected = [alone(capture, batch, seed) for seed, capture in enumerate(captures(kind))]
    models = captures(kind)
    generators = [torch.Generator().manual_seed(seed) for seed in range(COUNT)]
    students = StackedStudents(models)
    outputs = students.run(batch, NEEDS, generators)
    for own in outputs.of_each:
        losses(own).backward()
    outputs.backward()
    for number, (gradients, drawn) in enumerate(expected):
        students.collect_gradients(number, outputs.reached(number))
        students.hand_out_gradients(number)
        assert torch.rand((), generator=generators[number]) == drawn
        for name, parameter in models[number].model.named_parameters():
            if exact:
                assert torch.equal(parameter.grad, gradients[name]), name
            else:
                torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)


def test_parameters_that_no_used_output_depends_on_get_no_gradient(exact):
    models = captures("classification")
    students = StackedStudents(models)
    outputs = students.run(inputs("classification"), NEEDS, [torch.Generator() for _ in models])
    for own in outputs.of_each[:2]:
        own.hidden[1].sum().backward()
    outputs.of_each[2].logits.sum().backward()
    outputs.backward(without=[1])
    for number in range(COUNT):
        students.collect_gradients(number, outputs.reached(number))
        students.hand_out_gradients(number)
    names = [{name for name, p in model.model.named_parameters() if p.grad is not None} for model in models]
    assert {name.split(".")[3] for name in names[0] if "layer" in name} == {"0"}
    assert "classifier.weight" not in names[0]
    assert names[1] == set()
    assert names[2] == {name for name, _ in models[2].model.named_parameters()}


def test_a_student_that_is_given_memory_of_its_own_leaves_the_others():
    models = captures("classification")
    before = [[p.detach().clone() for p in capture.model.parameters()] for capture in models]
    students = StackedStudents(models)
    assert students.intact
    students.separate([1])
    assert not students.intact
    with torch.no_grad():
        for parameter in models[1].model.parameters():
            parameter.zero_()
    for capture, weights in zip(models[::2], before[::2], strict=True):
        assert all(torch.equal(p, weight) for p, weight in zip(capture.model.parameters(), weights, strict=True))


def test_students_are_separated_one_stacked_tensor_after_another(monkeypatch):
    students = StackedStudents(captures("classification"))
    stacked, clone, alive = [weakref.ref(tensor) for tensor in students._stacked.values()], torch.Tensor.clone, []

    def counting(tensor):
        alive.append(sum(ref() is not None for ref in stacked))
        return clone(tensor)

    monkeypatch.setattr(torch.Tensor, "clone", counting)
    students.separate(range(COUNT))
    assert alive[::COUNT] == list(range(len(stacked)))[::-1]


@pytest.mark.parametrize(
    ("family", "kind"), [("bert", "text"), ("albert", "classification"), ("modernbert", "token_classification")]
)
def test_families_that_can_share_passes(family, kind, exact):
    assert stack_check._problem(Capture(tiny_model(family, kind=kind))) is None


def test_families_that_cannot():
    assert "4-dimensional weight" in stack_check._problem(Capture(tiny_model("convbert")))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        *(RuntimeError(f"{text}. Tried 2.00 GiB") for text in memory_errors.OUT_OF_MEMORY_MESSAGES),
    ],
    ids=str,
)
def test_lack_of_memory_says_nothing_about_an_architecture(monkeypatch, error):
    """It is checked again when memory suffices."""
    monkeypatch.setattr(stack_check, "_checked", {})
    capture = Capture(tiny_model("bert"))

    def starved(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(StackedStudents, "run", starved)
        with pytest.raises(type(error)) as raised:
            stack_check.can_share_passes(capture)
    assert raised.value is error
    assert stack_check.can_share_passes(capture)


class Draws(torch.nn.Linear):
    """Draws random numbers that no generator of a run gives."""

    def forward(self, states):
        return super().forward(states + torch.rand(()) * 0)


def test_random_numbers_of_a_model_are_noticed():
    model = tiny_model("bert")
    model.classifier.__class__ = Draws
    assert "random numbers" in stack_check._problem(Capture(model))
