from dataclasses import replace

import pytest

from tests.support.tiny_tasks import task


@pytest.mark.parametrize(("kind", "usual"), [("classification", False), ("regression", False), ("qa", True)])
def test_the_scale_of_a_score_is_what_the_task_says_and_else_that_of_its_kind(kind, usual):
    assert task(kind).in_percent is usual
    assert replace(task(kind), percent=not usual).in_percent is not usual
