"""Losses on attention maps: equal in chunks and at once, with the memory of one chunk."""

import itertools

import pytest
import torch

from harness.api import chunked_attention, chunked_gradients, losses

LENGTHS = [7, 3, 9, 1, 6]
B, A, N, D = len(LENGTHS), 3, 9, 4
MASK = torch.tensor([[i < length for i in range(N)] for length in LENGTHS])


def vectors(seed, dtype, *, grad=False):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(B, A, N, D, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
    return tuple(tensor.requires_grad_(grad) for tensor in tensors)


def relation(student, teachers, mask):
    return losses.relation_kl(student, teachers[0], mask, heads=6)


def to_itself(student, teachers, mask):
    """The keys are the same tensors as the queries."""
    return losses.relation_kl(student[0], teachers[0][1], mask)


def of_pairs(student, teachers, mask):
    return losses.relation_kl(student, teachers[1], mask)


LOSSES = [losses.score_mse, losses.attention_kl, losses.attention_cosine, relation, to_itself, of_pairs]


def value_and_gradients(loss, dtype, *, weight=1.0):
    student = vectors(1, dtype, grad=True)
    teachers = [vectors(2, dtype), vectors(3, dtype)]
    value = loss(student, teachers, MASK)
    (weight * value + value.square()).backward()
    return value.detach(), [tensor.grad for tensor in student if tensor.grad is not None]


@pytest.mark.parametrize("limit", [1, 60, A * N, 6 * N**2, 2 * 6 * N**2], ids=lambda n: f"limit={n}")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_chunks_give_equal_values_and_gradients(loss, dtype, limit, monkeypatch):
    expected, gradients = value_and_gradients(loss, dtype, weight=3.0)
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", limit)
    value, actual = value_and_gradients(loss, dtype, weight=3.0)
    close = {"rtol": 1e-10, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(value, expected, **close)
    assert len(actual) == len(gradients) > 0
    for ours, theirs in zip(actual, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_chunks_under_autocast_and_in_half_precision(loss, monkeypatch):
    with torch.autocast("cpu", torch.bfloat16):
        expected, gradients = value_and_gradients(loss, torch.bfloat16)
        monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
        value, actual = value_and_gradients(loss, torch.bfloat16)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(actual, gradients, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=1e-4)


def scaled_gradient(loss, dtype, scale, *, noise=0.1):
    """The gradient of the queries of 64 examples of 2 to 128 tokens."""
    lengths = torch.arange(2, 130, 2)
    mask = torch.arange(128) < lengths[:, None]
    generator = torch.Generator().manual_seed(1)
    queries, keys, difference = torch.randn(3, 64, 1, 128, 4, generator=generator)
    teacher = (queries + noise * difference).to(dtype), keys.to(dtype)
    student = queries.to(dtype).requires_grad_(), keys.to(dtype)
    (loss(student, [teacher], mask) * scale).backward()
    return student[0].grad.float()[:, 0][mask] / scale


@pytest.mark.parametrize("loss", [losses.score_mse, losses.attention_kl, losses.attention_cosine])
def test_gradients_in_float16_do_not_underflow(loss, monkeypatch):
    """The scale of `torch.amp.GradScaler` reaches a chunk's gradients only after they are computed."""
    expected = scaled_gradient(loss, torch.float32, 1.0)
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 2**17)
    actual = scaled_gradient(loss, torch.float16, 2.0**16)
    assert (actual - expected).norm() < 0.006 * expected.norm()


def test_gradients_in_float16_do_not_overflow(monkeypatch):
    """Each query of an example of 2 tokens counts 64 times as much as one of 128 tokens."""
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 2**17)
    expected = scaled_gradient(losses.score_mse, torch.float32, 1.0, noise=4000.0)
    actual = scaled_gradient(losses.score_mse, torch.float16, 1.0, noise=4000.0)
    assert (actual - expected).norm() < 0.006 * expected.norm()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_the_loss_scale_does_not_change_float32(loss, monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
    _, scaled = value_and_gradients(loss, torch.float32)
    monkeypatch.setattr(chunked_gradients, "_loss_scales", lambda mask, dtype: torch.ones(len(mask), dtype=dtype))
    _, unscaled = value_and_gradients(loss, torch.float32)
    assert all(map(torch.equal, scaled, unscaled))


def test_the_gradient_passes_gradcheck(monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
    teachers = [vectors(2, torch.float64)]
    for loss in (losses.score_mse, relation):
        student = vectors(1, torch.float64, grad=True)
        assert torch.autograd.gradcheck(lambda q, k, loss=loss: loss((q, k), teachers, MASK), student, fast_mode=True)


def test_a_teacher_that_requires_gradients_gets_them(monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
    student, teacher = vectors(1, torch.float64), vectors(2, torch.float64, grad=True)
    losses.score_mse(student, [teacher], MASK).backward()
    assert all(tensor.grad.any() for tensor in teacher)
    assert all(tensor.grad is None for tensor in student)


def test_no_gradients_are_computed_under_no_grad(monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
    monkeypatch.setattr(torch.autograd, "grad", lambda *_: pytest.fail("computed a gradient without need"))
    with torch.no_grad():
        value = losses.score_mse(vectors(1, torch.float64, grad=True), [vectors(2, torch.float64)], MASK)
    assert not value.requires_grad


def test_no_chunk_exceeds_the_limit(monkeypatch):
    seen = []

    def compare(queries, keys, mask):
        seen.append(queries[0].shape[:3].numel() * keys[0].shape[2])
        return (queries[0] @ keys[0].mT).mean((1, 3))

    for limit in (A * N * 2, A * N**2, 2 * A * N**2):
        monkeypatch.setattr(chunked_attention, "MAX_PAIRS", limit)
        seen.clear()
        chunked_attention.mean_over_queries(compare, *[[part] for part in vectors(1, torch.float32)], MASK)
        assert sum(seen) == B * A * N**2
        assert max(seen) <= limit


def test_results_do_not_depend_on_other_computations(monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 60)
    first = value_and_gradients(losses.score_mse, torch.float32)
    value_and_gradients(relation, torch.float32)
    second = value_and_gradients(losses.score_mse, torch.float32)
    assert torch.equal(first[0], second[0])
    assert all(map(torch.equal, first[1], second[1]))


def extra_peak(loss, heads, tokens, examples=2):
    """Peak of the additional memory, in bytes, of a loss and its backward pass."""
    shape = (examples, heads, tokens, 192 // heads)
    student = tuple(torch.randn(shape, requires_grad=True) for _ in range(2))
    teacher = tuple(torch.randn(shape) for _ in range(2))
    mask = torch.ones(examples, tokens, dtype=torch.bool)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss(student, teacher, mask).backward()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize(
    "loss",
    [losses.relation_kl, lambda student, teacher, mask: losses.score_mse(student, [teacher], mask)],
    ids=["relation_kl", "score_mse"],
)
def test_the_extra_peak_is_an_eighth_of_the_naive_one(loss, monkeypatch):
    """48 heads of 256 tokens: a 64th of 48 heads of 512 tokens in a batch of 32, with chunks of a 64th."""
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 2**62)
    naive = extra_peak(loss, 48, 256)
    assert naive > 4 * 2 * 48 * 256**2 * 4
    monkeypatch.undo()
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", chunked_attention.MAX_PAIRS // 64)
    assert extra_peak(loss, 48, 256) < naive / 8


def test_the_peak_does_not_grow_with_the_batch(monkeypatch):
    monkeypatch.setattr(chunked_attention, "MAX_PAIRS", 12 * 128**2)
    small, large = (extra_peak(losses.relation_kl, 12, 128, examples=count) for count in (2, 16))
    vectors = 14 * 128 * 192 * 4
    assert large - small < 8 * vectors
