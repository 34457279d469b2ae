"""Students of every family: copied weights, initialized weights, and invalid specifications."""

import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.api.model_outputs import ModelShape
from harness.api.task import Task
from harness.config.student_schema import StudentSpec
from harness.models import families, heads, students
from harness.models.capture import Capture
from harness.models.families import shape
from harness.models.introspection import find_parts
from harness.testing import tiny_batch, tiny_model
from tests.support.encoder_families import SETTINGS

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]
TASK = Task("t", "classification", load=lambda source: None, metrics=(), score="", labels=("no", "yes", "maybe"))
REGRESSION = Task("r", "regression", load=lambda source: None, metrics=(), score="")
QA = Task("q", "qa", load=lambda source: None, metrics=(), score="")
TEACHER = ModelShape("base", layers=12, hidden=768, heads=12, ffn=3072, model_type="bert")


def spec(layers=2, **fields):
    return StudentSpec(layers=layers, **fields)


def build(student, teacher, *, task=TASK, seed=1, checkpoint=None):
    return students.build(student, name="s", task=task, teacher=teacher, checkpoint=checkpoint, seed=seed)


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def outside_layers(model):
    inside = {id(p) for layer in find_parts(model).layers for p in layer.parameters()}
    return {name: p for name, p in model.base_model.named_parameters() if id(p) not in inside}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("init", "chosen"), [("uniform", (2, 4)), ("first", (1, 2)), ("last", (3, 4)), ([3, 1], (3, 1))]
)
def test_layers_are_copied_and_the_head_is_new(family, init, chosen):
    teacher = tiny_model(family, layers=4, num_labels=3, seed=7)
    student = build(spec(init=init), teacher)
    theirs, ours = find_parts(teacher).layers, find_parts(student).layers
    assert students.source_layers(spec(init=init), 4) == chosen
    assert len(ours) == 2
    for layer, index in zip(ours, chosen, strict=True):
        assert equal(layer, theirs[index - 1])
    copied, source = outside_layers(student), outside_layers(teacher)
    assert copied.keys() == source.keys()
    assert all(torch.equal(copied[name], source[name]) for name in copied)
    if family in ("bert", "albert"):
        assert any("pooler" in name for name in copied)
    if family in ("electra", "albert"):
        assert any("embedding" in name and ("project" in name or "mapping" in name) for name in copied)
    assert not torch.equal(find_parts(student).head.weight, find_parts(teacher).head.weight)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_students_share_nothing_with_the_teacher(family):
    teacher = tiny_model(family, layers=4, num_labels=3, seed=7)
    student = build(spec(), teacher)
    theirs = dict(teacher.named_parameters())
    ours = [(n, p) for n, p in student.named_parameters() if p.dim() == 2 and p.shape == theirs[n].shape]
    assert ours
    assert not any(torch.equal(p, theirs[name]) for name, p in ours)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", [TASK, REGRESSION, QA])
def test_any_width_depth_head_count_and_ffn(family, task):
    student = build(spec(5, hidden=24, heads=3, ffn=40), tiny_model(family), task=task)
    assert str(shape(student.config, "s")) == "s (5 layers, hidden 24, 3 heads, FFN 40)"
    assert len(find_parts(student).layers) == 5
    assert student.config.model_type == family
    batch = tiny_batch(task.kind, num_labels=3, token_type_ids=False)
    assert torch.isfinite(student(**{k: v for k, v in batch.items() if k not in ("answer_mask", "word_ids")}).loss)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_depend_on_the_seed_only(family):
    teacher = tiny_model(family, layers=4)
    for init in ("random", "uniform"):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = build(spec(init=init), teacher)
        assert torch.equal(state, torch.get_rng_state())
        torch.manual_seed(2)
        assert equal(first, build(spec(init=init), teacher))
        assert not equal(first, build(spec(init=init), teacher, seed=2))


def test_layers_can_be_copied_with_fewer_heads_of_the_same_width():
    teacher = tiny_model("bert", layers=4, heads=4)
    student = build(spec(init="first", heads=2), teacher)
    assert student.config.num_attention_heads == 2
    assert equal(find_parts(student).layers[0], find_parts(teacher).layers[0])


BOUND_TO_HEADS = {"ConvBERT", "DeBERTa", "EuroBERT", "ModernBERT", "MPNet", "NomicBERT"}


@pytest.mark.parametrize("family", SETTINGS)
def test_layers_whose_weights_are_bound_to_heads_are_copied_with_equal_heads_only(family):
    teacher = replace(TEACHER, model_type=SETTINGS[family][0])
    problems = [str(problem) for problem in students.check(spec(6, heads=6, init="first"), "s", teacher, None)]
    assert len(problems) == (family in BOUND_TO_HEADS)
    assert all("its layers can be copied only with equal heads" in problem for problem in problems)
    assert students.check(spec(6, heads=12, init="first"), "s", teacher, None) == []
    assert students.check(spec(6, heads=6), "s", teacher, None) == []


def test_every_family_that_is_bound_to_heads_is_tested():
    assert {SETTINGS[family][0] for family in BOUND_TO_HEADS} == families.BOUND_TO_HEADS.keys()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("heads", [6, 3, 2])
def test_a_copied_head_holds_consecutive_heads_of_the_teacher(family, heads):
    teacher = tiny_model(family, layers=4, hidden=24, heads=12)
    student = build(spec(init="first", heads=heads), teacher).eval()
    batch = tiny_batch("classification", token_type_ids=family != "distilbert")
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    names = ["queries[1]", "keys[1]", "values[1]", "scores[1]", "context[1]"]
    with torch.no_grad():
        ours, theirs = (Capture(model).run(inputs, names) for model in (student, teacher))
    share = 12 // heads
    for kind in ("queries", "keys", "values"):
        own, of_teacher = getattr(ours, kind)[1], getattr(theirs, kind)[1]
        assert own.shape == (4, heads, own.shape[2], 24 // heads)
        for head in range(heads):
            together = torch.cat([of_teacher[:, head * share + part] for part in range(share)], dim=-1)
            torch.testing.assert_close(own[:, head], together)
    # A score of the student is the sum of those of the heads that it took together, over the root of their number.
    summed = theirs.scores[1].unflatten(1, (heads, share)).sum(2) / share**0.5
    torch.testing.assert_close(ours.scores[1], summed)


def test_copying_from_an_encoder_without_a_pooler_keeps_the_students():
    student = build(spec(init="first"), tiny_model("bert", layers=4, kind="qa"))
    assert torch.isfinite(student.base_model.pooler.dense.weight).all()
    assert equal(student, build(spec(init="first"), tiny_model("bert", layers=4, kind="qa")))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_student_loads_with_plain_transformers(family, tmp_path):
    student = build(spec(init="last"), tiny_model(family, layers=4))
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = tiny_batch("classification", num_labels=3, token_type_ids=False)
    batch.pop("word_ids")
    assert torch.equal(again(**batch).logits, student(**batch).logits)
    assert again.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert again.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_determines_the_encoder_and_the_seed_the_head(family, tmp_path):
    source = tiny_model(family, layers=2, seed=5)
    source.base_model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    first = build(spec(init=str(tmp_path)), tiny_model(family), checkpoint=tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert equal(first.base_model, source.base_model)
    assert equal(first, build(spec(init=str(tmp_path)), tiny_model(family), checkpoint=tmp_path))
    other = build(spec(init=str(tmp_path)), tiny_model(family), checkpoint=tmp_path, seed=2)
    assert not torch.equal(find_parts(first).head.weight, find_parts(other).head.weight)
    assert first.dtype == torch.float32


def test_a_checkpoint_of_another_size_raises(tmp_path):
    tiny_model("bert").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="hidden is 64 in the suite") as caught:
        build(spec(hidden=64, init=str(tmp_path)), tiny_model("bert"), checkpoint=tmp_path)
    assert "has 32" in str(caught.value)


def test_a_head_is_loaded_if_its_shape_fits_and_initialized_otherwise(tmp_path):
    source = tiny_model("bert", num_labels=3)
    source.save_pretrained(tmp_path)
    assert torch.equal(heads.load(tmp_path, TASK, seed=1).classifier.weight, source.classifier.weight)
    assert heads.load(tmp_path, REGRESSION, seed=1).classifier.weight.shape == (1, 32)
    assert heads.load(tmp_path, QA, seed=1).qa_outputs.weight.shape == (2, 32)


def test_loading_prints_nothing(tmp_path, capfd):
    tiny_model("bert").base_model.save_pretrained(tmp_path)
    capfd.readouterr()
    heads.load(tmp_path, TASK, seed=1)
    assert capfd.readouterr() == ("", "")


def test_weights_of_another_model_raise(tmp_path):
    tiny_model("bert", layers=2).save_pretrained(tmp_path / "two")
    tiny_model("bert", layers=3).save_pretrained(tmp_path / "three")
    shutil.copy(tmp_path / "three" / "config.json", tmp_path / "two" / "config.json")
    with pytest.raises(UserError, match=r"do not fit config\.json"):
        heads.load(tmp_path / "two", TASK, seed=1)


def test_truncated_weights_raise(tmp_path):
    tiny_model("bert").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot load"):
        heads.load(tmp_path, TASK, seed=1)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_folder_with_a_missing_file_raises(tmp_path, file):
    tiny_model("bert").save_pretrained(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError) as caught:
        heads.load(tmp_path, TASK, seed=1)
    assert str(tmp_path) in str(caught.value)


def test_unspecified_sizes_are_those_of_the_teacher():
    assert (
        str(students.shape(spec(4, hidden=312), "4x312", TEACHER)) == "4x312 (4 layers, hidden 312, 12 heads, FFN 3072)"
    )
    assert students.shape(spec(4), "s", None) is None
    assert students.shape(spec(4, hidden=8, heads=2, ffn=16), "s", None) is not None


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"hidden": 312, "heads": 5}, "heads", ["hidden 312", "5 heads", "1, 2, 3, 4, 6, 8"]),
        ({"hidden": 256}, "heads", ["hidden 256", "12 heads"]),
        ({"layers": 5, "init": "uniform"}, "init", ["12 layers", "by 5", "1, 2, 3, 4, 6, 12"]),
        ({"layers": 13, "init": "first"}, "init", ["13 layers", "base (12 layers", "only 12"]),
        ({"layers": 13, "init": "last"}, "init", ["13 layers", "only 12"]),
        ({"layers": 24, "init": "uniform"}, "init", ["24 layers", "only 12"]),
        ({"layers": 3, "init": [1, 2]}, "init", ["2 layers", "student has 3"]),
        ({"layers": 2, "init": [1, 13]}, "init", ["no layer 13", "1 to 12"]),
        ({"hidden": 384, "init": "uniform"}, "init", ["hidden is 384", "768 in base"]),
        ({"ffn": 512, "init": [1, 2]}, "init", ["ffn is 512", "3072 in base"]),
        ({"init": "unifrom"}, "init", ["'unifrom'", "did you mean 'uniform'?"]),
    ],
)
def test_invalid_students_are_reported_with_their_sizes(fields, where, words):
    [problem] = students.check(StudentSpec(**{"layers": 2, **fields}), "s", TEACHER, None)
    assert problem.where == f"students.s.{where}"
    assert all(word in problem.message for word in words), problem.message


@pytest.mark.parametrize(
    "fields", [{}, {"init": "uniform"}, {"init": [12, 1]}, {"hidden": 312}, {"init": "some/model"}]
)
def test_valid_students_have_no_problems(fields):
    assert students.check(StudentSpec(**{"layers": 2, **fields}), "s", TEACHER, None) == []


def test_a_checkpoint_must_have_the_sizes_of_the_suite():
    own = ModelShape("general", layers=4, hidden=312, heads=12, ffn=1200)
    [problem] = students.check(spec(6, hidden=312, init="some/model"), "s", TEACHER, own)
    assert all(word in problem.message for word in ("layers is 6", "some/model has 4"))
    assert students.check(spec(4, hidden=312, heads=12, ffn=1200, init="some/model"), "s", TEACHER, own) == []


def test_a_student_needs_a_family():
    with pytest.raises(UserError, match="name a teacher"):
        build(spec(), None)
    with pytest.raises(TypeError, match="needs a model"):
        build(spec(init="first"), tiny_model("bert").config)
    assert equal(build(spec(), tiny_model("bert").config), build(spec(), tiny_model("bert", seed=3)))


def test_layers_of_different_lengths_cannot_be_copied():
    with pytest.raises(UserError, match="no sequence of layers with outputs of one shape"):
        build(spec(init="first"), tiny_model("funnel", layers=4))
    assert build(spec(), tiny_model("funnel", layers=4)).config.num_hidden_layers == 2
