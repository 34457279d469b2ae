"""The mixed network of theseus against a forward pass by hand, its schedule, draws and initial weights."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import Stage, Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from harness.training import student_initialization
from tests.support.manual_forward import ManualBert

Theseus = Host.create().methods["theseus"]


def fixed(*replaced):
    """Theseus with the student's layers in the blocks `replaced`."""

    class Fixed(Theseus):
        def _draw(self, step):
            return list(replaced), 0

    return Fixed


def models(kind="classification", layers=2):
    sizes = {"kind": kind, "num_labels": 3}
    return tiny_model(layers=layers, seed=1, **sizes).double(), tiny_model(layers=4, seed=2, **sizes).double()


@pytest.mark.parametrize("replaced", [[1], [2], [1, 2]])
def test_the_task_loss_of_the_mixed_network(replaced):
    student, teacher = models()
    batch = tiny_batch("classification", num_labels=3, seed=4)
    got = loss_terms(fixed(*replaced), student=student, teachers=[teacher], batch=batch)
    own, theirs = ManualBert(student), ManualBert(teacher)
    total = 0.0
    for i in range(4):
        states = own.embeddings(batch, i)
        for block in (1, 2):
            layers = [own.layers[block - 1]] if block in replaced else theirs.layers[2 * block - 2 : 2 * block]
            for layer in layers:
                states = layer(states)
        logits = own.logits(states).tolist()
        total -= logits[int(batch["labels"][i])] - math.log(sum(math.exp(z) for z in logits))
    assert set(got) == {"task"}
    assert got["task"].item() == pytest.approx(total / 4, rel=1e-9)


@pytest.mark.parametrize("kind", ["regression", "multilabel", "token_classification", "qa"])
def test_with_all_blocks_replaced_it_is_the_student_on_every_kind_of_task(kind):
    sizes = {"kind": kind, "num_labels": 1 if kind == "regression" else 3}
    student, teacher = tiny_model(layers=2, seed=1, **sizes).double(), tiny_model(layers=4, seed=2, **sizes).double()
    inputs = {"student": student, "teachers": [teacher], "batch": tiny_batch(kind, num_labels=3)}
    replaced = loss_terms("theseus", **inputs, config={"end": 0})["task"].item()
    assert replaced == pytest.approx(loss_terms("logit_kd", **inputs)["task"].item(), rel=1e-9)


def test_only_the_layers_in_the_network_get_gradients():
    student, teacher = models()
    batch = tiny_batch("classification", num_labels=3)
    loss_terms(fixed(1), student=student, teachers=[teacher], batch=batch)["task"].backward()
    first, second = student.bert.encoder.layer
    assert first.output.dense.weight.grad.any(), "through the frozen teacher's layers above it"
    assert second.output.dense.weight.grad is None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def bound(seed=1, **config):
    student, teacher = (ModelShape(name, layers, 16, 2, 32) for name, layers in (("small", 3), ("base", 12)))
    task = TaskInfo("sst2", "classification", 2)
    return Theseus(Theseus.Config(**config), task=task, student=student, teachers=[teacher], seed=seed)


def at(method, index, steps=100):
    (stage,) = method.stages()
    return Step(stage, index, steps, 0.0, 1.0, torch.nn.ModuleDict(), torch.Generator())


def test_the_replacing_rate():
    linear, constant = bound(), bound(schedule="constant", b=0.5)
    assert [linear.rate(at(linear, index)) for index in (0, 33, 66, 99)] == pytest.approx([0.3, 0.65, 1, 1])
    assert [constant.rate(at(constant, index)) for index in (0, 65, 66, 99)] == pytest.approx([0.5, 0.5, 1, 1])
    assert linear.rate(at(bound(end=0), 0)) == pytest.approx(0.3)
    assert bound(end=0).rate(at(linear, 0)) == 1


def test_draws_follow_the_rate_and_are_repeated_until_a_block_is_drawn():
    method = bound(b=0.2, schedule="constant", end=1)
    counts, repeated = [], 0
    for index in range(2000):
        replaced, redraws = method._draw(at(method, index, steps=2000))
        assert replaced
        assert set(replaced) <= {1, 2, 3}
        counts.append(len(replaced))
        repeated += redraws
    empty = 0.8**3
    assert sum(counts) / 2000 == pytest.approx(3 * 0.2 / (1 - empty), rel=0.05)
    assert repeated / 2000 == pytest.approx(empty / (1 - empty), rel=0.1), "not the first draw, as in GLMKD"
    assert bound()._draw(at(method, 99)) == ([1, 2, 3], 0)
    assert method._draw(at(method, 7)) == method._draw(at(method, 7)), "the same for all parts of a batch"
    assert len({tuple(bound(seed=seed)._draw(at(method, 0))[0]) for seed in range(30)}) > 2


def test_one_draw_serves_all_parts_of_a_batch(world):
    here, draws = world(batch_size=8), {}

    class Watched(Theseus):
        def _draw(self, step):
            drawn = super()._draw(step)
            draws.setdefault(step.index, []).append(drawn)
            return drawn

    run = here.run(Watched)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert all(drawn == of_step[0] for of_step in draws.values() for drawn in of_step)
    assert max(map(len, draws.values())) > 1, "a batch has several parts"
    assert {"task", "loss", "replacing_rate", "student_layers", "redraws"} == set(run.history[0].terms)


@pytest.mark.parametrize("unfreeze", [False, True])
def test_embeddings_and_head_are_frozen(world, unfreeze):
    here, seen = world(), []

    class Watched(Theseus):
        def losses(self, step, batch, student, teachers):
            model = step.student.parameters
            seen.append((model["classifier.weight"].detach().clone(), self.rate(step)))
            return super().losses(step, batch, student, teachers)

    run = here.run(Watched, config={"unfreeze_last": unfreeze})
    before = {name: tensor.clone() for name, tensor in run.student.state_dict().items()}
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    after = run.student.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert any("encoder.layer.1" in name for name in changed)
    outside = {name for name in changed if "encoder" not in name}
    assert ({"classifier.weight", "bert.embeddings.word_embeddings.weight"} <= outside) is unfreeze
    assert unfreeze or not outside
    assert all(torch.equal(weight, before["classifier.weight"]) for weight, rate in seen if rate < 1)


def test_the_student_starts_with_the_teacher_s_first_layers_embeddings_and_head():
    student, teacher = models()
    method = bound()
    student_initialization.initialize(method, student, [teacher])
    theirs = teacher.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in student.state_dict().items())
    batch = tiny_batch("classification", num_labels=3)
    same = loss_terms(fixed(1, 2), student=student, teachers=[teacher], batch=batch)["task"]
    same.backward()
    assert teacher.classifier.weight.grad is None, "a copy, not the same tensor"


def test_a_student_of_another_vocabulary_is_refused_before_training():
    with pytest.raises(UserError, match=r"word_embeddings.weight is \(70, 32\) in the student and \(64, 32\)"):
        student_initialization.initialize(bound(), tiny_model(vocab=70), [tiny_model(layers=4)])


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"layers": 3}, "must divide the teacher's: student has 3 layers, teacher 1 has 4"),
        ({"hidden": 16}, "equal hidden: student has 16, teacher 1 has 32"),
        ({"heads": 2}, "equal heads: student has 2, teacher 1 has 4"),
        ({"model_type": "electra"}, "equal model_type: student has electra, teacher 1 has bert"),
    ],
)
def test_errors_for_models_name_both_values(student, words):
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=words):
        loss_terms("theseus", student=tiny_model(**student), teachers=[tiny_model(layers=4)], batch=batch)


def test_the_stage():
    (stage,) = bound().stages()
    assert stage == Stage("replace", stage.needs, live=True, frozen=frozenset({"embeddings", "head"}))
    assert not stage.needs.teachers
    assert bound().notes() == {"block_size": 4}
