"""Problems of a registered task that its kind decides."""

import pytest

from harness.api.task import Task
from harness.plugin_host.contribution_checks import task_faults

TAGS = ("O", "B-PER", "I-PER")


def faults(kind, labels, score="entity_f1"):
    return list(task_faults(Task("mine", kind, lambda source: None, (score,), score, labels)))


@pytest.mark.parametrize("kind", ["classification", "multilabel", "token_classification"])
def test_kinds_with_classes_need_two(kind):
    assert faults(kind, ("O",), "accuracy") == [f"task 'mine': a {kind} task needs at least two `labels`, found 1"]
    assert not faults(kind, TAGS, "accuracy")


def test_entities_need_tags_in_iob2():
    assert not faults("token_classification", TAGS)
    (fault,) = faults("token_classification", ("O", "PER"))
    assert "needs `labels` in IOB2, such as 'O', 'B-PER', 'I-PER', found 'PER'" in fault
    assert not faults("token_classification", ("NOUN", "VERB"), "token_accuracy")


def test_an_unknown_kind_lists_all_kinds():
    (fault,) = faults("tagging", TAGS, "accuracy")
    assert "allowed: classification, multilabel, regression, token_classification, qa" in fault
