from dataclasses import replace

import pytest

from tests.support.tiny_tasks import task


@pytest.mark.parametrize(("kind", "usual"), [("classification", False), ("regression", False), ("qa", True)])
def test_percent_defaults_to_the_scale_of_the_kind(kind, usual):
    assert task(kind).in_percent is usual
    assert replace(task(kind), percent=not usual).in_percent is not usual
