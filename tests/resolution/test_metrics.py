"""Tasks with unknown metrics are reported before any training."""

from tests.support.suite_files import GOOD

PLUGIN = """\
from harness import hookimpl
from harness.api.task import Task

@hookimpl
def harness_register_tasks(register):
    register(Task("odd", "classification", print, ("accuracy", "acuracy", "f9"), "accuracy", labels=("a", "b")))
"""
REGISTER = """
@hookimpl
def harness_register_metrics(register):
    register("acuracy", dict)
    register("f9", dict)
"""


def test_unknown_metrics_suggest_a_similar_name(suite_problems, write):
    write(PLUGIN, "odd.py")
    reported = suite_problems(GOOD.replace("[sst2, rte]", "[sst2, odd]") + "plugins: [odd.py]\n")
    assert len(reported) == 2
    for line, metric in zip(reported, ("acuracy", "f9"), strict=True):
        assert line.startswith(f"suite.yaml:2: tasks.1: unknown metric {metric!r} of task 'odd'")
    assert "did you mean 'accuracy'?" in reported[0]


def test_metrics_of_the_same_plugin_are_known(suite_problems, write):
    write(PLUGIN + REGISTER, "odd.py")
    assert suite_problems(GOOD.replace("[sst2, rte]", "[sst2, odd]") + "plugins: [odd.py]\n") == []


def test_a_score_that_no_built_in_metric_returns_is_an_error(suite_problems, write):
    plugin = PLUGIN.replace('("accuracy", "acuracy", "f9"), "accuracy"', '("accuracy", "f1_macro"), "f1_micro"')
    write(plugin, "odd.py")
    (reported,) = suite_problems(GOOD.replace("[sst2, rte]", "[sst2, odd]") + "plugins: [odd.py]\n")
    assert "task 'odd': none of its metrics returns the score 'f1_micro'; did you mean 'f1_macro'?" in reported
