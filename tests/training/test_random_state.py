import torch

from harness.training.random_state import RandomState

CPU = torch.device("cpu")


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
