"""Faults of third-party methods and metrics that `validate` and `run` find before a teacher is trained."""

import pytest

from harness.api.errors import UserError
from harness.api.task import Task
from harness.metrics import task_metrics
from harness.metrics.task_metrics import VALUES
from harness.metrics.task_scores import values_of
from harness.plugin_host.host import Host
from harness.resolution import load_mapping, resolve
from harness.workflow import plugin_probes

METHOD = """
from harness import Method, MethodConfig, Needs, Problem, Stage, hookimpl
from harness.api.losses import task_loss
import evaluate

class Odd(Method):
    name = "odd"
    def stages(self):
        last = self.student.layers
        yield Stage("first", Needs(["logits"], [["logits"]]))
        yield Stage("second", Needs(["logits", f"hidden[{{last}}]"]))
    def check(self, task, student, teachers):
        if student.layers > 12:
            yield Problem(f"{{student.layers}} layers are more than 12")
    def losses(self, step, batch, student, teachers):
        task = task_loss(student.logits, batch)
        {losses}
        return {{"task": task}}
    def weights(self, step):
        return {weights}

@hookimpl
def harness_register_methods(register):
    register(Odd)

@hookimpl
def harness_register_metrics(register):
    register("mine", {metric})
"""

RETURNING = "lambda: type('Mine', (), {{'compute': lambda self, predictions, references: {value}}})()"
PROPER = "__import__('harness.metrics._evaluate_metrics').metrics._evaluate_metrics.Accuracy"


def check(tmp_path, losses="pass", weights="{}", metric=PROPER, metrics="[mine]"):
    path = tmp_path / "odd.py"
    path.write_text(METHOD.format(losses=losses, weights=weights, metric=metric))
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "good,1\nbad,0\n" * 4)
    suite = {
        "name": "probe",
        "plugins": [str(path)],
        "tasks": [{"mood": {"kind": "classification", "train": str(rows), "validation": 0.5, "text": "text",
                            "label": "label", "metrics": ["mine", "accuracy"], "score": "accuracy"}}],
        "teachers": {"big": {"architecture": {"layers": 4, "hidden": 48, "heads": 12, "ffn": 64}}},
        "students": {"small": {"layers": 2, "hidden": 32, "heads": 4, "ffn": 64}},
        "methods": ["odd"],
    }  # fmt: skip
    loaded = load_mapping(suite)
    resolved = resolve(loaded, online=False)
    plugin_probes.check(resolved, loaded.host)


def test_a_proper_method_and_metric_pass(tmp_path):
    check(tmp_path)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (
            {"losses": "return {'task': task.item()}"},
            "stage 'first': loss term 'task' is a float; expected a scalar",
        ),
        ({"losses": "return [task]"}, r"losses\(\) returned a list; expected a mapping"),
        ({"losses": "if step.stage.name == 'second': return {'t': 1.0}"}, "stage 'second': loss term 't' is a float"),
        ({"losses": "return {'task': task.reshape(1, 1).expand(2, 2)}"}, r"loss term 'task' has shape \(2, 2\)"),
        ({"losses": "student.hidden[1]"}, r"hidden\[1\] was not declared in the stage's Needs"),
        ({"weights": "None"}, r"weights\(\) returned a NoneType; expected a mapping"),
        ({"weights": "{'task': '1'}"}, "the weight of 'task' is a str; expected a number"),
        (
            {"metric": "lambda: (lambda predictions, references: {})"},
            "its factory returned a function; expected",
        ),
        (
            {"metric": f"lambda: {PROPER}"},
            "its factory returned the class Accuracy; expected a harness.api.metric.Metric",
        ),
        ({"metric": "lambda: 1 / 0"}, "metric 'mine': its factory failed: ZeroDivisionError"),
        (
            {"metric": RETURNING.format(value=0.5)},
            r"metric 'mine': compute\(\) returned 0\.5; expected a mapping of names to numbers",
        ),
        ({"metric": RETURNING.format(value={"mine": "high"})}, r"returned {'mine': 'high'}; expected a mapping"),
    ],
)
def test_a_fault_is_an_error_before_training(tmp_path, faults, words):
    with pytest.raises(UserError, match=words) as caught:
        check(tmp_path, **faults)
    assert all(problem.where == str(tmp_path / "odd.py") for problem in caught.value.problems)


def test_what_may_be_due_to_the_tiny_models_or_the_two_examples_is_no_error(tmp_path):
    check(tmp_path, losses="raise ValueError('at least 16 examples are needed')")
    check(tmp_path, metric=RETURNING.format(value="1 / (len(references) - 2)"))


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification", "qa"])
def test_the_two_examples_are_right_for_every_kind_of_task(kind):
    """They have the form that the built-in metrics of the kind take."""
    labels = {"regression": (), "qa": (), "token_classification": ("O", "B-PER")}.get(kind, ("bad", "good"))
    for value, name in VALUES[kind].items():
        task = Task("mine", kind, print, (name,), value, labels=labels)
        predictions, references = plugin_probes._two_examples(task)
        values = values_of(name, Host.create().metrics[name](), predictions, references)
        assert values[value] == pytest.approx({"mse": 0, "mae": 0}.get(value, 100 if kind == "qa" else 1))
        assert task_metrics.values_of((name,)) == (None if kind == "qa" else values.keys())


def test_widths_stay_equal_or_different():
    def shape(hidden, heads):
        return type("Shape", (), {"hidden": hidden, "heads": heads})

    widths = plugin_probes._tiny_widths([shape(312, 12), shape(768, 12), shape(768, 8), shape(1024, 16)])
    assert len(set(widths.values())) == 3
    assert [widths[768] % heads for heads in (12, 8)] == [0, 0]
    assert max(widths.values()) < 120
