"""Layer mappings, weights and model checks of pkd. tests/reference compares the terms with their formulas."""

import pytest
from transformers import PreTrainedModel

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def bound_method(student_layers=6, **config):
    cls = Host.create().methods["pkd"]
    student, teacher = (ModelShape(n, layers, 768, 12, 3072) for n, layers in (("small", student_layers), ("base", 12)))
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**config), task=task, student=student, teachers=[teacher], seed=1)


@pytest.mark.parametrize(("strategy", "layers"), [("skip", [2, 4, 6, 8, 10]), ("last", [7, 8, 9, 10, 11])])
def test_layer_mappings_of_the_paper(strategy, layers):
    method = bound_method(strategy=strategy)
    assert method.notes() == {"layer_map": [[layer] for layer in layers]}
    (stage,) = method.stages()
    assert stage.needs.teachers == (frozenset({"logits", *(f"hidden[{layer}]" for layer in layers)}),)
    assert "hidden[6]" not in stage.needs.student


def test_weights():
    """A student of six layers: five are compared, each with 768 features."""
    paper = bound_method(alpha=0.2, beta=100, beta_scale="paper").weights(None)
    assert paper == pytest.approx({"task": 0.8, "kd": 0.2, "patience": 100})
    code = bound_method(alpha=0.2, beta=100, kd_scale="code").weights(None)
    assert code == pytest.approx({"task": 0.8, "kd": 0.2 / 2, "patience": 100 / (5 * 768)})


def mean_squared_error(first: list[list[float]], second: list[list[float]]) -> float:
    pairs = [pair for rows in zip(first, second, strict=True) for pair in zip(*rows, strict=True)]
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def unit(vector: list[float]) -> list[float]:
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


@pytest.mark.parametrize("normalize", [True, False])
def test_patience_with_the_scale_of_the_code_is_a_mean_over_examples_layers_and_features(normalize):
    student, teacher, batch = double(layers=2, seed=1), double(layers=4, seed=2), tiny_batch("classification")
    config = {"beta": 1.0, "normalize": normalize}
    term = loss_terms("pkd", student=student, teachers=[teacher], batch=batch, config=config)["patience"].item()
    own, theirs = (
        model.eval()(**{k: v for k, v in batch.items() if k != "labels"}, output_hidden_states=True).hidden_states[
            layer
        ]
        for model, layer in ((student, 1), (teacher, 2))
    )
    vectors = [[row.tolist() for row in states[:, 0]] for states in (own, theirs)]
    if normalize:
        vectors = [[unit(row) for row in rows] for rows in vectors]
    weight = term / (1 * student.config.hidden_size)
    assert weight == pytest.approx(mean_squared_error(*vectors), rel=1e-6)


@pytest.mark.parametrize(
    ("student", "config", "words"),
    [
        ({"hidden": 16}, {}, "equal widths: student has 16, teacher 1 has 32"),
        ({"layers": 3}, {}, "'skip' needs a depth that divides the teacher's: student has 3, teacher 1 has 4"),
        ({"layers": 1}, {}, "two layers or more: student has 1, teacher 1 has 4"),
        ({"layers": 5}, {"strategy": "last"}, "not deeper than the teacher: student has 5, teacher 1 has 4"),
    ],
)
def test_errors_for_models_name_both_numbers(student, config, words):
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=words):
        loss_terms("pkd", student=double(**student), teachers=[double(layers=4)], batch=batch, config=config)


def test_last_accepts_depths_that_do_not_divide():
    batch = tiny_batch("classification")
    config = {"strategy": "last"}
    terms = loss_terms("pkd", student=double(layers=3), teachers=[double(layers=4)], batch=batch, config=config)
    assert set(terms) == {"task", "kd", "patience"}
