"""Checks of every registered task."""

import pytest

from harness.plugin_host.host import Host

HOST = Host.create()


@pytest.mark.parametrize("task", HOST.tasks.values(), ids=lambda task: task.name)
def test_the_metrics_of_a_task_are_registered_and_have_its_scale(task):
    assert set(task.metrics) <= set(HOST.metrics)
    assert task.in_percent == any(metric.startswith("squad") for metric in task.metrics)
    assert task.unanswerable == ("squad_v2" in task.metrics)


def test_the_tasks_of_glue_and_squad_are_registered():
    glue = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"}
    assert glue | {"squad", "squad_v2"} <= set(HOST.tasks)
