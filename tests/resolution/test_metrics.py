"""A task whose metric nobody registers is found before any training."""

from tests.support.suite_files import GOOD

PLUGIN = """\
from harness import hookimpl
from harness.api.task import Task

@hookimpl
def harness_register_tasks(register):
    register(Task("odd", "classification", None, ("accuracy", "acuracy", "f9"), "accuracy", labels=("a", "b")))
"""
REGISTER = """
@hookimpl
def harness_register_metrics(register):
    register("acuracy", dict)
    register("f9", dict)
"""


def test_every_unknown_metric_is_told_with_the_nearest(complaints, write):
    write(PLUGIN, "odd.py")
    found = complaints(GOOD.replace("[sst2, rte]", "[sst2, odd]") + "plugins: [odd.py]\n")
    assert len(found) == 2
    for line, metric in zip(found, ("acuracy", "f9"), strict=True):
        assert line.startswith(f"suite.yaml:2: tasks.1: unknown metric {metric!r} of task 'odd'")
    assert "did you mean 'accuracy'?" in found[0]


def test_a_metric_that_the_same_plugin_registers_is_known(complaints, write):
    write(PLUGIN + REGISTER, "odd.py")
    assert complaints(GOOD.replace("[sst2, rte]", "[sst2, odd]") + "plugins: [odd.py]\n") == []
