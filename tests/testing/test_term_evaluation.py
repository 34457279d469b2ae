"""`loss_terms` returns the terms of a training step, and raises the errors of `validate` and of a run."""

import pytest
import torch

from harness import General, Method, Needs, Stage, layers
from harness.api.errors import UserError
from harness.api.losses import masked_lm_loss, task_loss
from harness.testing import check_method, loss_terms, tiny_batch, tiny_model

STUDENT, TEACHER = tiny_model(seed=1), tiny_model(layers=4, seed=2)


class Plain(Method):
    """Learns from the labels; subclasses override parts of it."""

    name = "plain"
    outputs = Needs(student=["logits"], teachers=[["logits"]])

    def stages(self):
        return [Stage("only", self.outputs)]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


def terms(method=Plain, kind="classification", teachers=(TEACHER,), **options):
    return loss_terms(method, student=STUDENT, teachers=list(teachers), batch=tiny_batch(kind), **options)


@pytest.mark.parametrize(
    ("method", "count", "words"),
    [
        ("logit_kd", 0, "teachers: logit_kd takes 1, found 0"),
        ("logit_kd", 2, "teachers: logit_kd takes 1, found 2"),
        ("finetune", 1, "teachers: finetune takes 0, found 1"),
        ("mt_bert", 0, "teachers: mt_bert takes 1 or more, found 0"),
    ],
)
def test_a_wrong_number_of_teachers_is_an_error(method, count, words):
    with pytest.raises(UserError, match=words):
        terms(method, teachers=[TEACHER] * count)


@pytest.mark.parametrize("make", [tiny_batch, lambda kind: tiny_model(kind=kind)])
def test_an_unknown_kind_is_an_error(make):
    with pytest.raises(UserError, match="there is no kind of task 'clasification'; did you mean 'classification'"):
        make("clasification")


@pytest.mark.parametrize(("kinds", "words"), [("qa", "kinds is the string 'qa'"), (["qs"], "no kind of task 'qs'")])
def test_checks_of_unknown_kinds_are_an_error(kinds, words):
    with pytest.raises(UserError, match=words):
        check_method(Plain, kinds=kinds)


@pytest.mark.parametrize("kind", ["regression", "qa", "text"])
def test_a_model_with_a_head_for_another_kind_is_an_error(kind):
    with pytest.raises(UserError, match=f"the student has a head for classification, but the labels .* of {kind}"):
        terms(kind=kind)
    student, batch = tiny_model(kind=kind), tiny_batch(kind)
    with pytest.raises(UserError, match=f"teacher 1 has a head for classification, but the labels .* of {kind}"):
        loss_terms(Plain, student=student, teachers=[TEACHER], batch=batch)


def test_the_error_names_the_allowed_range_of_teachers():
    class OneToThree(Plain):
        max_teachers = 3

    with pytest.raises(UserError, match="teachers: plain takes 1 to 3, found 4"):
        terms(OneToThree, teachers=[TEACHER] * 4)


def test_needs_for_one_of_two_teachers_are_an_error():
    class Two(Plain):
        min_teachers = max_teachers = 2

    with pytest.raises(UserError, match="stage 'only' needs outputs of 1 teacher, but there are 2"):
        terms(Two, teachers=[TEACHER, TEACHER])


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(student=layers("hidden", [3])), r"hidden\[3\] is requested, but student has 2 layers"),
        (Needs(student=["logits"], teachers=[layers("values", [5])]), r"values\[5\] is requested, but teacher 1 has 4"),
    ],
)
def test_needs_that_the_models_cannot_provide_are_an_error(needs, words):
    with pytest.raises(UserError, match=words):
        terms(type("Asks", (Plain,), {"outputs": needs}))


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (lambda student, batch: {}, r"plain, stage 'only': the method's losses\(\) returned no terms"),
        (lambda student, batch: {"far": student.logits}, r"loss term 'far' has shape \(4, 2\); expected a scalar"),
        (
            lambda student, batch: {"loss": task_loss(student.logits, batch)},
            "names a term 'loss', which is reserved for the weighted total",
        ),
    ],
)
def test_invalid_terms_are_an_error(losses, words):
    losses_of_test = losses

    class Odd(Plain):
        def losses(self, step, batch, student, teachers):
            return losses_of_test(student, batch)

    with pytest.raises(UserError, match=words):
        terms(Odd)


def test_a_logged_value_with_the_name_of_a_term_is_an_error():
    class Logs(Plain):
        def losses(self, step, batch, student, teachers):
            step.log("task", 1.0)
            return super().losses(step, batch, student, teachers)

    with pytest.raises(UserError, match="names a value 'task', which is a term"):
        terms(Logs)


class Scheduled(Plain):
    def losses(self, step, batch, student, teachers):
        task = task_loss(student.logits, batch)
        return {"by_step": task * step.index / step.steps, "by_epoch": task * step.epoch / step.epochs, "task": task}


def test_progress_can_be_chosen():
    scheduled = terms(Scheduled, index=3, steps=12, epochs=2.0)
    quarter = pytest.approx(scheduled["task"].item() / 4)
    assert (scheduled["by_step"].item(), scheduled["by_epoch"].item()) == (quarter, quarter)
    assert terms(Scheduled)["by_step"].item() == 0
    with pytest.raises(UserError, match="index is 12; with 12 steps, allowed: 0 to 11"):
        terms(Scheduled, index=12, steps=12)


class OnText(Plain):
    def general(self):
        return General(Stage("general", self.outputs), masking=0.15)

    def losses(self, step, batch, student, teachers):
        if step.stage.name == "general":
            return {"mlm": masked_lm_loss(student.logits, batch)}
        return super().losses(step, batch, student, teachers)


def test_unlabelled_text_selects_the_text_stage():
    student, teacher = (tiny_model(kind="text", seed=seed) for seed in (1, 2))
    assert set(loss_terms(OnText, student=student, teachers=[teacher], batch=tiny_batch("text"))) == {"mlm"}
    assert set(terms(OnText)) == {"task"}


def test_word_ids_reach_the_method():
    class Words(Plain):
        def losses(self, step, batch, student, teachers):
            assert batch.word_ids.max() > 0
            return super().losses(step, batch, student, teachers)

    assert set(terms(Words)) == {"task"}


class Averages(Plain):
    """Keeps a moving average of the predictions of each example, and projects."""

    def modules(self, student, teachers):
        memory = torch.nn.Module()
        memory.register_buffer("average", torch.zeros(8))
        return torch.nn.ModuleDict({"memory": memory, "map": torch.nn.Linear(2, 2)})

    def losses(self, step, batch, student, teachers):
        average, rows = step.modules["memory"].average, list(batch.rows)
        scores = student.logits[:, 0]
        terms = {
            "distance": (scores - average[rows]).square().mean(),
            "map": step.modules["map"](student.logits).mean(),
        }
        average[rows] = 0.5 * average[rows] + 0.5 * scores.detach()
        step.log("first", float(step.index))
        return terms

    def weights(self, step):
        return {"map": step.index / step.steps}


def test_several_steps_keep_the_state_and_show_weights_and_progress():
    batches = [tiny_batch("classification", seed=seed) for seed in (1, 2)]
    last = loss_terms(Averages, student=STUDENT, teachers=[TEACHER], batch=batches, consecutive=3, steps=6, epochs=2.0)
    assert [terms.step.index for terms in last.history] == [0, 1, 2]
    assert [terms.step.epoch for terms in last.history] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [terms.weights["map"] for terms in last.history] == pytest.approx([0, 1 / 6, 2 / 6])
    assert [terms.logged for terms in last.history] == [{"first": 0.0}, {"first": 1.0}, {"first": 2.0}]
    first, second, third = last.history
    scores = [
        STUDENT(**{k: b[k] for k in ("input_ids", "attention_mask", "token_type_ids")}).logits[:, 0] for b in batches
    ]
    assert torch.allclose(first.state["memory.average"][:4], 0.5 * scores[0], atol=1e-6)
    assert torch.allclose(second.state["memory.average"][4:], 0.5 * scores[1], atol=1e-6)
    assert torch.allclose(third.state["memory.average"][:4], 0.75 * scores[0], atol=1e-6)
    assert third["distance"].item() == pytest.approx((0.5 * scores[0]).square().mean().item(), rel=1e-4)
    assert third.total.item() == pytest.approx(third["distance"].item() + third["map"].item() / 3, rel=1e-5)
    assert third["distance"].requires_grad
    assert not first["distance"].requires_grad


def test_an_optimizer_updates_a_copy_of_the_student_and_the_modules():
    before = {name: tensor.clone() for name, tensor in STUDENT.state_dict().items()}
    arguments = {"student": STUDENT, "teachers": [TEACHER], "batch": tiny_batch("classification"), "consecutive": 3}
    trained, fixed = (loss_terms(Plain, lr=lr, **arguments) for lr in (1e-2, 0.0))
    assert [terms["task"].item() for terms in fixed.history] == pytest.approx([fixed["task"].item()] * 3)
    assert trained["task"].item() < 0.9 * fixed["task"].item()
    weights = [terms.state["map.weight"] for terms in loss_terms(Averages, lr=1e-2, **arguments, steps=4).history]
    assert not torch.equal(weights[0], weights[2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in STUDENT.state_dict().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [({"consecutive": 0}, "consecutive is 0; it must be at least 1"), ({"batch": []}, "batch is empty")],
)
def test_invalid_sequences_are_an_error(options, words):
    with pytest.raises(UserError, match=words):
        loss_terms(Plain, **{"student": STUDENT, "teachers": [TEACHER], "batch": tiny_batch("qa"), **options})
