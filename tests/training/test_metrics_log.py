import pytest
import torch

from harness.training.metrics_log import MetricsLog, NonFiniteLoss


def test_read_returns_means_since_the_last_read():
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0))
    log.add("kd", 4.0)
    log.add("loss", torch.tensor(3.0))
    assert log.read() == {"loss": 2.0, "kd": 4.0}
    assert log.read() == {}


def test_means_are_weighted():
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0), 0.75)
    log.add("loss", torch.tensor(5.0), 0.25)
    log.add("loss", torch.tensor(4.0))
    assert log.read() == {"loss": 3.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(value):
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0))
    log.add("kd", torch.tensor(value))
    log.add("kd", torch.tensor(1.0))
    with pytest.raises(NonFiniteLoss, match="kd is"):
        log.read()


def test_a_log_resumes_from_its_state():
    log, other = MetricsLog(), MetricsLog()
    log.add("loss", torch.tensor(1.0))
    other.load_state_dict(log.state_dict(), torch.device("cpu"))
    other.add("loss", torch.tensor(2.0))
    assert other.read() == {"loss": 1.5}
