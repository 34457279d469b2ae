"""Terms of rl_kd against loops in float64, with the actions that the policy drew."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.support.manual_forward import ManualBert

RLKD = Host.create().methods["rl_kd"]


class Recording(RLKD):
    """Remembers its actions and its policy."""

    def _draw(self, probabilities, generator):
        Recording.actions = RLKD._draw(probabilities, generator)
        return Recording.actions

    def _log_probabilities(self, step, batch, teachers):
        Recording.policy = step.modules["policy"]
        return super()._log_probabilities(step, batch, teachers)


def models(kind="classification"):
    sizes = {"kind": kind, "num_labels": 1 if kind == "regression" else 3}
    student = tiny_model(layers=1, hidden=16, seed=1, **sizes).double()
    return student, [tiny_model(layers=2, seed=seed, **sizes).double() for seed in (2, 3)]


def terms(kind="classification", stage="policy", *, index=0, steps=2, **config):
    student, teachers = models(kind)
    batch = tiny_batch(kind, num_labels=3, seed=4)
    got = loss_terms(
        Recording, student=student, teachers=teachers, batch=batch, stage=stage, config=config, index=index, steps=steps
    )
    return {name: term.item() for name, term in got.items()}, batch


def probabilities(logits, temperature=1.0):
    values = [math.exp(z / temperature) for z in logits]
    return [value / sum(values) for value in values]


class Oracle:
    """Predictions, losses and states of all examples."""

    def __init__(self, kind, batch, temperature=10.0):
        student, teachers = models(kind)
        own, theirs = ManualBert(student), [ManualBert(teacher) for teacher in teachers]
        self.kind, self.labels = kind, batch["labels"].tolist()
        self.student = [own.logits_of(own.embeddings(batch, i)).tolist() for i in range(4)]
        states = [[model.states(model.embeddings(batch, i))[-1] for i in range(4)] for model in theirs]
        self.teachers = [
            [model.logits(s).tolist() for s in of_model] for model, of_model in zip(theirs, states, strict=True)
        ]
        self.cls = [states[0][i][0, 0].tolist() for i in range(4)]
        self.kd = [[self._kd(i, z[i], temperature) for z in self.teachers] for i in range(4)]
        self.task = sum(self._loss(i, self.student[i]) for i in range(4)) / 4

    def _loss(self, i, logits):
        if self.kind == "regression":
            return (logits[0] - self.labels[i]) ** 2
        return -math.log(probabilities(logits)[self.labels[i]])

    def _kd(self, i, teacher, temperature):
        if self.kind == "regression":
            return (self.student[i][0] - teacher[0]) ** 2
        pairs = zip(probabilities(teacher, temperature), probabilities(self.student[i], temperature), strict=True)
        return temperature**2 * sum(p * math.log(p / q) for p, q in pairs)

    def state(self, i):
        of_teachers = [z[i] for z in self.teachers]
        predictions = of_teachers if self.kind == "regression" else map(probabilities, of_teachers)
        return [*self.cls[i], *(x for p in predictions for x in p), *(self._loss(i, z) for z in of_teachers)]

    def chosen(self, actions, division="chosen"):
        total = 0.0
        for of_example, losses in zip(actions, self.kd, strict=True):
            count = sum(of_example) if division == "chosen" else len(losses)
            total += sum(a * loss for a, loss in zip(of_example, losses, strict=True)) / count / 4
        return total

    def log_likelihood(self, actions, policy):
        total = 0.0
        weights, biases = policy.weight.tolist(), policy.bias.tolist()
        for i, of_example in enumerate(actions):
            for action, row, bias in zip(of_example, weights, biases, strict=True):
                score = sum(w * x for w, x in zip(row, self.state(i), strict=True)) + bias
                p = 1 / (1 + math.exp(-score))
                total += math.log(p if action else 1 - p)
        return total


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("reward", ["r1", "r2"])
def test_the_policy_is_paid_with_the_loss_of_the_same_batch(kind, reward):
    got, batch = terms(kind, reward=reward)
    oracle, actions = Oracle(kind, batch), Recording.actions.tolist()
    paid = -oracle.task - (oracle.chosen(actions) if reward == "r2" else 0)
    expected = -paid * oracle.log_likelihood(actions, Recording.policy)
    assert got == pytest.approx({"policy": expected}, rel=1e-9)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("division", ["chosen", "teachers"])
def test_the_student_learns_from_the_chosen_teachers(kind, division):
    got, batch = terms(kind, "joint", division=division)
    oracle = Oracle(kind, batch)
    expected = {"task": oracle.task, "kd": oracle.chosen(Recording.actions.tolist(), division)}
    assert got == pytest.approx(expected, rel=1e-8)
    learned, _ = terms(kind, "joint", index=1, division=division)
    assert set(learned) == {"policy"}


def test_all_teachers_count_equally_at_first():
    got, batch = terms(stage="average")
    oracle = Oracle("classification", batch)
    expected = sum(sum(losses) / 2 for losses in oracle.kd) / 4
    assert got == pytest.approx({"task": oracle.task, "kd": expected}, rel=1e-8)


def test_the_gradient_of_the_policy_is_that_of_the_log_likelihood_times_the_reward():
    student, teachers = models()
    batch = tiny_batch("classification", num_labels=3, seed=4)
    got = loss_terms(Recording, student=student, teachers=teachers, batch=batch, stage="policy")["policy"]
    got.backward()
    oracle, actions, policy = Oracle("classification", batch), Recording.actions.tolist(), Recording.policy
    reward = -oracle.task - oracle.chosen(actions)
    before, ends = policy.bias[1].item(), []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            policy.bias[1] = before + change
        ends.append(oracle.log_likelihood(actions, policy))
    assert policy.bias.grad[1].item() == pytest.approx(-reward * (ends[0] - ends[1]) / 2e-5, rel=1e-6)
    assert all(parameter.grad is None for parameter in student.parameters()), "the student does not change"


def test_actions_follow_the_probabilities_and_are_never_empty():
    given = torch.tensor([[0.5, 0.2, 0.1]]).repeat(20000, 1)
    actions = RLKD._draw(given, torch.Generator().manual_seed(0))
    assert (actions.sum(-1) >= 1).all()
    empty = 0.5 * 0.8 * 0.9
    assert actions.mean(0).tolist() == pytest.approx([0.5 + empty, 0.2, 0.1], abs=0.015)


def bound(kind="classification", **config):
    student, *teachers = (ModelShape(name, 2, 16, 2, 32) for name in ("small", "base", "large"))
    task = TaskInfo("sst2", kind, 3)
    return RLKD(RLKD.Config(**config), task=task, student=student, teachers=teachers, seed=1)


def test_stages_weights_and_the_rate_of_the_policy():
    method = bound(policy_lr=5.0, alpha=0.2)
    stages = method.stages()
    assert [stage.name for stage in stages] == ["average", "policy", "joint"]
    assert [stage.batch_dependent for stage in stages] == [frozenset(), {"policy"}, {"policy"}]
    assert method.weights(None) == pytest.approx({"task": 0.8, "kd": 0.2})
    step = Step(stages[1], 0, 1, 0.0, 1.0, torch.nn.ModuleDict(), torch.Generator())
    assert method.learning_rates(step) == {"modules.policy": 5.0}
    assert method.modules(method.student, method.teachers)["policy"].weight.shape == (2, 16 + 2 * 4)


def test_what_is_refused():
    batch, model = tiny_batch("classification"), tiny_model()
    with pytest.raises(UserError, match="teachers: rl_kd takes 2 or more, found 1"):
        loss_terms("rl_kd", student=model, teachers=[model], batch=batch)
    with pytest.raises(UserError, match="reward 'r3' needs the student's accuracy on held-out examples"):
        loss_terms("rl_kd", student=model, teachers=[model, model], batch=batch, config={"reward": "r3"})
    model = tiny_model(kind="qa")
    with pytest.raises(UserError, match="those of a qa task"):
        loss_terms("rl_kd", student=model, teachers=[model, model], batch=tiny_batch("qa"))
