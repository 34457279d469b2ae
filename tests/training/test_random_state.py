import pytest
import torch

from harness.training.random_state import RandomState

CPU, MPS = torch.device("cpu"), torch.device("mps")


@pytest.fixture
def mps_generator(monkeypatch):
    """Stands for the one generator of an MPS device."""
    generator = torch.Generator()
    monkeypatch.setattr(torch.mps, "manual_seed", generator.manual_seed)  # torch.manual_seed calls it
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_state)
    return generator


def draws(state, count):
    values = []
    for _ in range(count):
        with state.active():
            values.append(torch.rand(1).item())
    return values


def test_draws_of_a_run_do_not_depend_on_other_draws():
    alone = draws(RandomState(1, CPU), 4)
    first, second = RandomState(1, CPU), RandomState(2, CPU)
    mixed = []
    for _ in range(4):
        mixed += draws(first, 1)
        draws(second, 3)
        torch.rand(5)
    assert mixed == alone


def test_the_global_state_is_restored():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    state = RandomState(1, CPU)
    draws(state, 2)
    assert torch.equal(torch.rand(2), expected)


def test_a_random_state_resumes_from_its_state_dict():
    state = RandomState(3, CPU)
    draws(state, 2)
    state.generator.seed()
    saved = state.state_dict()
    after = draws(state, 2), torch.rand(1, generator=state.generator)
    other = RandomState(3, CPU)
    other.load_state_dict(saved)
    assert (draws(other, 2), torch.rand(1, generator=other.generator)) == after


def test_draws_on_mps_do_not_depend_on_other_runs(mps_generator):
    def draw(state):
        with state.active():
            return torch.rand(1, generator=mps_generator).item()

    run = RandomState(1, MPS)
    alone = [draw(run) for _ in range(4)]
    mps_generator.manual_seed(9)
    before = mps_generator.get_state()
    first, second = RandomState(1, MPS), RandomState(2, MPS)
    mixed = [(draw(first), draw(second)) for _ in range(2)]
    resumed, third = RandomState(1, MPS), RandomState(3, MPS)
    resumed.load_state_dict(first.state_dict())
    mixed += [(draw(resumed), draw(third)) for _ in range(2)]
    assert [mine for mine, _ in mixed] == alone
    assert len({*alone, *(other for _, other in mixed)}) == 8
    assert torch.equal(mps_generator.get_state(), before)
