"""What a kill leaves of a write is nobody's, and goes with the target."""

import pytest

from harness.results import atomic


def killed(path):
    path.write_text("half of it")
    raise KeyboardInterrupt


def test_forget_takes_the_leftovers_too(tmp_path):
    target = tmp_path / "run.pt"
    atomic.write_text(target, "whole")
    with pytest.raises(KeyboardInterrupt):
        atomic.write(target, killed)
    assert target.read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2
    atomic.forget(target)
    assert list(tmp_path.iterdir()) == []
    atomic.forget(target)
