"""What holds for every task that is installed."""

import pytest

from harness.plugin_host.host import Host

HOST = Host.create()


@pytest.mark.parametrize("task", HOST.tasks.values(), ids=lambda task: task.name)
def test_metrics_are_registered_and_its_scale_is_theirs(task):
    assert set(task.metrics) <= set(HOST.metrics)
    assert task.in_percent == any(metric.startswith("squad") for metric in task.metrics)
    assert task.unanswerable == ("squad_v2" in task.metrics)


def test_all_the_tasks_of_the_mission_are_there():
    glue = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"}
    assert glue | {"squad", "squad_v2"} <= set(HOST.tasks)
