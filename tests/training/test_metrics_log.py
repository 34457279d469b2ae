import pytest
import torch

from harness.training.metrics_log import MetricsLog, NonFiniteLoss


def test_means_since_the_last_reading():
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0))
    log.add("kd", 4.0)
    log.add("loss", torch.tensor(3.0))
    assert log.read() == {"loss": 2.0, "kd": 4.0}
    assert log.read() == {}


def test_parts_of_a_step_count_by_their_weights():
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0), 0.75)
    log.add("loss", torch.tensor(5.0), 0.25)
    log.add("loss", torch.tensor(4.0))
    assert log.read() == {"loss": 3.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(value):
    log = MetricsLog()
    log.add("loss", torch.tensor(1.0))
    log.add("kd", torch.tensor(value))
    log.add("kd", torch.tensor(1.0))
    with pytest.raises(NonFiniteLoss, match="kd is"):
        log.read()


def test_a_log_goes_on_from_its_state():
    log, other = MetricsLog(), MetricsLog()
    log.add("loss", torch.tensor(1.0))
    other.load_state_dict(log.state_dict(), torch.device("cpu"))
    other.add("loss", torch.tensor(2.0))
    assert other.read() == {"loss": 1.5}
