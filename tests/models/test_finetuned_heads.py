"""Fine-tuned checkpoints: which heads suit a task, how classes match, and that their outputs are unchanged."""

import json

import pytest
import torch
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.api.task import Task
from harness.models import finetuned_heads, heads, tokenizers
from harness.models.class_order import class_order
from harness.testing import tiny_model

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert"]
NAMES = {0: "NEUTRAL", 1: "Contradiction", 2: "entailment"}
NLI = ("entailment", "neutral", "contradiction")


def task(kind="classification", labels=NLI, name="nli"):
    return Task(name, kind, lambda source: None, metrics=(), score="", labels=labels)


def save(folder, family="bert", kind="classification", outputs=3, names=None, **fields):
    """A checkpoint as transformers saves it, with random weights."""
    model = tiny_model(family, kind=kind, num_labels=outputs, seed=5)
    for parameter in model.parameters():
        if parameter.shape == (outputs,):  # the head's bias, which is initialized to 0
            torch.nn.init.uniform_(parameter)
    model.save_pretrained(folder)
    names = {i: f"LABEL_{i}" for i in range(outputs)} if names is None else names
    by_name = {name: index for index, name in names.items()}
    configure(folder, **({"id2label": names, "label2id": by_name} if kind == "classification" else {}), **fields)
    tokenizers.whole_word(["a film"]).save_pretrained(folder)
    return folder


def configure(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def found(folder, of_task, stated=None):
    return finetuned_heads.find(folder, of_task, stated, "base")


def problem(folder, of_task, stated=None):
    with pytest.raises(UserError) as caught:
        found(folder, of_task, stated)
    return str(caught.value)


def logits(model, kind="classification"):
    tokens = torch.tensor([[1, 7, 9, 2], [1, 8, 30, 2]])
    with torch.no_grad():
        outputs = model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    return outputs.logits if kind != "qa" else torch.stack([outputs.start_logits, outputs.end_logits])


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_are_reordered_exactly_and_nothing_else_changes(tmp_path, family):
    save(tmp_path, family, names=NAMES)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    head = found(tmp_path, task())
    assert head.order == (2, 0, 1)
    assert "reordered from neutral, contradiction, entailment to entailment, neutral, contradiction" in head.summary
    model = heads.load_finetuned(tmp_path, task(), head.order)
    assert not model.training
    torch.testing.assert_close(logits(model), logits(plain)[:, [2, 0, 1]])
    assert model.config.id2label == dict(enumerate(NLI))
    weights, originals = model.state_dict(), plain.state_dict()
    changed = [name for name, tensor in weights.items() if not torch.equal(tensor, originals[name])]
    assert changed == [name for name, tensor in weights.items() if tensor.shape[:1] == (3,)]
    for name in changed:
        assert torch.equal(weights[name], originals[name][[2, 0, 1]])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "auto"), [("regression", AutoModelForSequenceClassification), ("qa", AutoModelForQuestionAnswering)]
)
def test_heads_without_classes_are_used_as_they_are(tmp_path, family, kind, auto):
    save(tmp_path, family, kind, outputs=1)
    of_task = task(kind, (), "stsb")
    head = found(tmp_path, of_task)
    assert head.order == ()
    model = heads.load_finetuned(tmp_path, of_task, head.order)
    assert torch.equal(logits(model, kind), logits(auto.from_pretrained(tmp_path).eval(), kind))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_without_a_head_is_an_error(tmp_path, family):
    save(tmp_path, family)
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    message = problem(tmp_path, task())
    assert message.startswith(f"teachers.base.model: {tmp_path / 'config.json'}: ")
    assert "remove `finetune: false`" in message
    assert "no fine-tuned head" in message or "Model, and nli is a classification task" in message
    with pytest.raises(UserError, match=r"is not a fine-tuned .*ForSequenceClassification: \d+ of its tensors"):
        heads.load_finetuned(tmp_path, task(), (0, 1, 2))


@pytest.mark.parametrize(
    ("saved", "of_task", "fragments"),
    [
        ({"kind": "qa"}, task(), ["BertForQuestionAnswering", "nli is a classification task"]),
        ({}, task("qa", (), "squad"), ["BertForSequenceClassification", "squad is a qa task"]),
        (
            {"names": NAMES},
            task(labels=("no", "yes"), name="rte"),
            ["3 classes (NEUTRAL, Contradiction, entailment)", "rte has 2 classes (no, yes)"],
        ),
        ({"kind": "regression"}, task(), ["1 output, like that of a regression model", "nli has 3 classes"]),
        ({}, task("regression", (), "stsb"), ["3 classes", "stsb is a regression task, which needs 1 output"]),
        ({"problem_type": "multi_label_classification"}, task(), ["multi_label_classification"]),
        ({"kind": "text"}, task(), ["BertForMaskedLM", "nli is a classification task"]),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else None,
)
def test_a_head_of_another_task_is_an_error(tmp_path, saved, of_task, fragments):
    message = problem(save(tmp_path, **saved), of_task)
    for fragment in [*fragments, "config.json", "remove `finetune: false`"]:
        assert fragment in message


def test_a_head_is_found_by_its_weights_if_config_names_no_architecture(tmp_path):
    save(tmp_path, names=NAMES, architectures=None)
    assert found(tmp_path, task()).order == (2, 0, 1)
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    configure(tmp_path, architectures=None)
    assert "the weights lack classifier.weight, classifier.bias" in problem(tmp_path, task())


def test_weights_of_another_size_than_config_are_an_error(tmp_path):
    save(tmp_path, outputs=2, names=NAMES)
    with pytest.raises(UserError, match="another size, the first 'classifier"):
        heads.load_finetuned(tmp_path, task(), (2, 0, 1))


@pytest.mark.parametrize("names", [None, {0: "bad", 1: "soso", 2: "good"}])
def test_unfamiliar_names_are_an_error_until_the_order_is_stated(tmp_path, names):
    save(tmp_path, names=names)
    message = problem(tmp_path, task())
    assert ("LABEL_0, LABEL_1, LABEL_2" if names is None else "bad, soso, good") in message
    assert "`teachers.base.labels: [entailment, neutral, contradiction]`" in message
    assert found(tmp_path, task(), ["neutral", "Contradiction", "entailment"]).order == (2, 0, 1)
    message = problem(tmp_path, task(), ["neutral", "neutral", "entailment"])
    assert message.startswith("teachers.base.labels: expected each class of nli once (entailment, neutral")
    assert message.endswith("found neutral, neutral, entailment")


def test_stated_names_override_those_of_the_config(tmp_path):
    save(tmp_path, names=dict(enumerate(NLI)))
    assert found(tmp_path, task()).order == (0, 1, 2)
    assert found(tmp_path, task(), ["contradiction", "neutral", "entailment"]).order == (2, 1, 0)


def test_names_of_label2id_alone_are_used(tmp_path):
    save(tmp_path)
    configure(tmp_path, label2id={name: index for index, name in NAMES.items()})
    assert found(tmp_path, task()).order == (2, 0, 1)


def test_labels_of_a_task_without_classes_are_an_error(tmp_path):
    save(tmp_path, kind="regression", outputs=1)
    message = problem(tmp_path, task("regression", (), "stsb"), ["low"])
    assert message == "teachers.base.labels: stsb is a regression task, which has no classes; remove it"


@pytest.mark.parametrize(
    ("names", "labels", "order"),
    [
        (["NEGATIVE", "POSITIVE"], ["negative", "positive"], (0, 1)),
        (["Positive", "negative"], ["negative", "positive"], (1, 0)),
        (["NOT ENTAILMENT", "entailment"], ["entailment", "not_entailment"], (1, 0)),
        (["a", "A"], ["A", "a"], (1, 0)),
        (["a", "A"], ["a", "b"], None),
        (["a", "A"], ["b", "c"], None),
        (["NEG", "POS"], ["negative", "positive"], None),
        (["yes", "no", "maybe"], ["yes", "no"], None),
        (["Straße", "Weg"], ["weg", "STRASSE"], (1, 0)),
    ],
)
def test_names_match_whatever_their_case_order_and_separators(names, labels, order):
    assert class_order(names, labels) == order


@pytest.mark.parametrize("labels", [("Entailment", "Neutral", "Contradiction"), NLI])
def test_the_classes_of_a_head_that_is_fine_tuned_are_reordered_whatever_their_case(tmp_path, labels):
    save(tmp_path, names=NAMES)
    own = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(heads.load(tmp_path, task(labels=labels), seed=0)), logits(own)[:, [2, 0, 1]])


def test_a_head_that_is_not_linear_cannot_be_reordered(tmp_path):
    class Scaled(torch.nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * torch.tensor([1.0, 2.0, 3.0])

    model = tiny_model(num_labels=3)
    model.classifier.__class__ = Scaled
    with pytest.raises(UserError, match="does not end with a linear layer whose rows can be reordered"):
        heads._permute_outputs(model, (2, 0, 1), tmp_path)


@pytest.mark.parametrize(
    ("saved", "of_task", "summary"),
    [
        ({"names": NAMES}, task(), "the checkpoint's own head is fine-tuned further"),
        (
            {"names": NAMES},
            task(labels=("no", "yes"), name="rte"),
            "the checkpoint's head is replaced by a new one: the head has 3 classes",
        ),
        ({"kind": "qa"}, task(), "the checkpoint's head is replaced by a new one: the model is a BertForQuestionAn"),
        ({"kind": "text"}, task(), ""),
    ],
)
def test_what_becomes_of_a_head_that_is_fine_tuned(tmp_path, saved, of_task, summary):
    said = finetuned_heads.if_fine_tuned(save(tmp_path, **saved), of_task)
    assert said.startswith(summary)
    assert bool(said) == bool(summary)
