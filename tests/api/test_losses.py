"""Losses, compared with plain loops in float64 that follow the formulas."""

import math

import pytest
import torch

from harness.api import losses
from harness.api.batch import IGNORED, Batch

LENGTHS = [5, 3, 1, 4]
B, A, N, H, C = len(LENGTHS), 2, 6, 8, 3


def make_batch(kind, labels, answer_mask=None):
    mask = torch.tensor([[i < length for i in range(N)] for length in LENGTHS])
    return Batch(kind, tuple("abcd"), {"attention_mask": mask.long()}, labels, answer_mask)


def tensor(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(values):
    top = max(values)
    exps = [math.exp(v - top) for v in values]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.fixture(name="classes")
def _classes():
    return tensor(B, C, seed=1), tensor(B, C, seed=2), make_batch("classification", torch.tensor([0, 2, 1, 2]))


@pytest.fixture(name="numbers")
def _numbers():
    return tensor(B, 1, seed=1), tensor(B, 1, seed=2), make_batch("regression", torch.tensor([0.5, 2.0, 1.0, -1.0]))


@pytest.fixture(name="spans")
def _spans():
    answer_mask = torch.zeros(B, N, dtype=torch.bool)
    answer_mask[:, 0] = True
    answer_mask[0, 2:4] = True
    answer_mask[3, 2:3] = True
    lowest = torch.finfo(torch.float64).min
    student, teacher = (tensor(B, 2, N, seed=s).masked_fill(~answer_mask[:, None], lowest) for s in (1, 2))
    labels = torch.tensor([[2, 3], [0, 0], [0, 0], [2, 2]])
    return student, teacher, make_batch("qa", labels, answer_mask)


def rows(logits, batch):
    """The distributions that a loss compares, as lists of the logits of allowed positions."""
    if batch.kind == "classification":
        return [z.tolist() for z in logits]
    return [[z[n].item() for n in range(N) if batch.answer_mask[b, n]] for b in range(B) for z in logits[b]]


def test_task_loss_of_classes(classes):
    student, _, batch = classes
    expected = sum(-math.log(softmax(z)[y]) for z, y in zip(rows(student, batch), [0, 2, 1, 2], strict=True)) / B
    assert losses.task_loss(student, batch).item() == pytest.approx(expected, rel=1e-9)


def test_task_loss_of_numbers(numbers):
    student, _, batch = numbers
    expected = sum((z - y) ** 2 for z, y in zip(student[:, 0].tolist(), [0.5, 2.0, 1.0, -1.0], strict=True)) / B
    assert losses.task_loss(student, batch).item() == pytest.approx(expected, rel=1e-6)


def test_task_loss_of_spans(spans):
    student, _, batch = spans
    total = 0.0
    for b in range(B):
        positions = [n for n in range(N) if batch.answer_mask[b, n]]
        for which in range(2):
            p = softmax([student[b, which, n].item() for n in positions])
            total += -math.log(p[positions.index(batch.labels[b, which].item())])
    assert losses.task_loss(student, batch).item() == pytest.approx(total / B / 2, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["classes", "spans"])
def test_kl_and_soft_cross_entropy(kind, temperature, request):
    student, teacher, batch = request.getfixturevalue(kind)
    p = [softmax([z / temperature for z in row]) for row in rows(teacher, batch)]
    q = [softmax([z / temperature for z in row]) for row in rows(student, batch)]
    divergence = sum(kl(a, b) for a, b in zip(p, q, strict=True)) / len(p)
    cross = sum(-x * math.log(y) for a, b in zip(p, q, strict=True) for x, y in zip(a, b, strict=True)) / len(p)
    assert losses.kl_loss(student, teacher, batch, temperature).item() == pytest.approx(divergence, rel=1e-9)
    assert losses.soft_cross_entropy(student, teacher, batch, temperature).item() == pytest.approx(cross, rel=1e-9)


def test_regression_compares_logits_without_temperature(numbers):
    student, teacher, batch = numbers
    expected = sum((s - t) ** 2 for s, t in zip(student[:, 0].tolist(), teacher[:, 0].tolist(), strict=True)) / B
    assert losses.kl_loss(student, teacher, batch, 7.0).item() == pytest.approx(expected, rel=1e-9)
    assert losses.soft_cross_entropy(student, teacher, batch, 7.0).item() == pytest.approx(expected, rel=1e-9)


def log_sigmoid(z):
    return -math.log1p(math.exp(-z))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_losses_of_several_labels_are_binary_for_each_class(temperature):
    student, teacher = tensor(B, C, seed=1), tensor(B, C, seed=2)
    labels = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    batch = make_batch("multilabel", labels)
    cells = [(b, c) for b in range(B) for c in range(C)]
    task = divergence = cross = 0.0
    for b, c in cells:
        s, t = student[b, c].item(), teacher[b, c].item()
        task -= log_sigmoid(s) if labels[b, c] else log_sigmoid(-s)
        for z_s, z_t in ((s / temperature, t / temperature), (-s / temperature, -t / temperature)):
            p = 1 / (1 + math.exp(-z_t))
            divergence += p * (math.log(p) - log_sigmoid(z_s))
            cross -= p * log_sigmoid(z_s)
    assert losses.task_loss(student, batch).item() == pytest.approx(task / len(cells), rel=1e-9)
    assert losses.kl_loss(student, teacher, batch, temperature).item() == pytest.approx(
        divergence / len(cells), rel=1e-9
    )
    soft = losses.soft_cross_entropy(student, teacher, batch, temperature)
    assert soft.item() == pytest.approx(cross / len(cells), rel=1e-9)
    hot = losses.soft_target_loss(student, teacher, batch, temperature)
    assert hot.item() == pytest.approx(temperature**2 * divergence / len(cells), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_losses_of_tokens_are_means_over_labelled_tokens_then_examples(temperature):
    student, teacher = tensor(B, N, C, seed=1), tensor(B, N, C, seed=2)
    labels = torch.full((B, N), IGNORED)
    labels[0, 1], labels[0, 3], labels[1, 1], labels[3, 2] = 2, 0, 1, 2  # the third example has no labelled token
    batch = make_batch("token_classification", labels)
    task, divergence, cross = ([0.0] * B for _ in range(3))
    for b in range(B):
        places = [n for n in range(N) if labels[b, n] != IGNORED]
        for n in places:
            p = softmax([z / temperature for z in teacher[b, n].tolist()])
            q = softmax([z / temperature for z in student[b, n].tolist()])
            task[b] -= math.log(softmax(student[b, n].tolist())[labels[b, n]]) / len(places)
            divergence[b] += kl(p, q) / len(places)
            cross[b] -= sum(x * math.log(y) for x, y in zip(p, q, strict=True)) / len(places)
    student.requires_grad_()
    assert losses.task_loss(student, batch).item() == pytest.approx(sum(task) / B, rel=1e-9)
    assert losses.task_loss_by_example(student, batch).tolist() == pytest.approx(task, rel=1e-9)
    assert losses.kl_loss(student, teacher, batch, temperature).item() == pytest.approx(sum(divergence) / B, rel=1e-9)
    soft = losses.soft_cross_entropy(student, teacher, batch, temperature)
    assert soft.item() == pytest.approx(sum(cross) / B, rel=1e-9)
    (gradient,) = torch.autograd.grad(soft + losses.task_loss(student, batch), student)
    assert torch.equal(gradient.abs().sum(-1) > 0, labels != IGNORED)


def mask():
    return torch.tensor([[i < length for i in range(N)] for length in LENGTHS])


def test_token_mse():
    student, teacher = tensor(B, N, H, seed=3), tensor(B, N, H, seed=4)
    by_example = []
    for b, length in enumerate(LENGTHS):
        squares = [(student[b, n, h] - teacher[b, n, h]).item() ** 2 for n in range(length) for h in range(H)]
        by_example.append(sum(squares) / len(squares))
    assert losses.token_mse(student, teacher, mask()).item() == pytest.approx(sum(by_example) / B, rel=1e-9)


def attention(seed, width=4):
    """Queries and keys, and their attention scores."""
    queries, keys = tensor(B, A, N, width, seed=seed), tensor(B, A, N, width, seed=seed + 100)
    scores = [
        [
            [[sum((queries[b, a, i] * keys[b, a, j]).tolist()) / math.sqrt(width) for j in range(N)] for i in range(N)]
            for a in range(A)
        ]
        for b in range(B)
    ]
    return (queries, keys), torch.tensor(scores, dtype=torch.float64)


def test_score_mse():
    (student, student_scores), (first, first_scores), (second, second_scores) = (
        attention(3),
        attention(4, width=6),
        attention(5, width=6),
    )
    mean = (first_scores + second_scores) / 2
    by_example = []
    for b, length in enumerate(LENGTHS):
        pairs = [(a, i, j) for a in range(A) for i in range(length) for j in range(length)]
        by_example.append(
            sum((student_scores[b, a, i, j] - mean[b, a, i, j]).item() ** 2 for a, i, j in pairs) / len(pairs)
        )
    assert losses.score_mse(student, [first, second], mask()).item() == pytest.approx(sum(by_example) / B, rel=1e-9)


def attention_by_example(student, teachers, compare):
    """The mean of `compare` of the attention probabilities of student and teachers, from their scores."""
    by_example = []
    for b, length in enumerate(LENGTHS):
        values = []
        for a in range(A):
            for i in range(length):
                rows = [softmax(scores[b, a, i, :length].tolist()) for scores in teachers]
                mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
                values.append(compare(mean, softmax(student[b, a, i, :length].tolist())))
        by_example.append(sum(values) / len(values))
    return sum(by_example) / B


def cosine_distance(p, q):
    dot = sum(a * b for a, b in zip(p, q, strict=True))
    return 1 - dot / math.sqrt(sum(a * a for a in p)) / math.sqrt(sum(b * b for b in q))


@pytest.mark.parametrize(
    ("loss", "compare"), [(losses.attention_kl, kl), (losses.attention_cosine, cosine_distance)], ids=["kl", "cosine"]
)
def test_attention_losses(loss, compare):
    (student, student_scores), (first, first_scores), (second, second_scores) = (
        attention(3),
        attention(4, width=6),
        attention(5, width=6),
    )
    assert loss(student, [first], mask()).item() == pytest.approx(
        attention_by_example(student_scores, [first_scores], compare), rel=1e-9
    )
    expected = attention_by_example(student_scores, [first_scores, second_scores], compare)
    assert loss(student, [first, second], mask()).item() == pytest.approx(expected, rel=1e-9)


def relation_by_example(student, teacher, heads):
    """`student` and `teacher` are queries and keys, [B, N, H]; each head has consecutive features."""
    by_example = []
    for b, length in enumerate(LENGTHS):
        values = []
        for h in range(heads):
            for i in range(length):
                rows = []
                for x, y in (teacher, student):
                    d = x.shape[-1] // heads
                    part = slice(h * d, h * d + d)
                    products = [sum((x[b, i, part] * y[b, j, part]).tolist()) for j in range(length)]
                    rows.append(softmax([value / math.sqrt(d) for value in products]))
                values.append(kl(*rows))
        by_example.append(sum(values) / len(values))
    return sum(by_example) / B


def test_relation_kl_of_other_widths():
    student, teacher = tensor(B, N, 4, seed=3), tensor(B, N, H, seed=4)
    for heads in (None, 2):
        expected = relation_by_example((student, student), (teacher, teacher), heads or 1)
        assert losses.relation_kl(student, teacher, mask(), heads=heads).item() == pytest.approx(expected, rel=1e-9)


def test_relation_kl_of_queries_and_keys_with_their_heads_or_relation_heads():
    q_s, k_s, q_t, k_t = (tensor(B, N, H, seed=seed) for seed in range(4))

    def by_head(x, heads):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    with_heads = losses.relation_kl((by_head(q_s, 2), by_head(k_s, 2)), (by_head(q_t, 2), by_head(k_t, 2)), mask())
    assert with_heads.item() == pytest.approx(relation_by_example((q_s, k_s), (q_t, k_t), 2), rel=1e-9)
    with_relation_heads = losses.relation_kl(by_head(q_s, 2), by_head(q_t, 4), mask(), heads=8)
    assert with_relation_heads.item() == pytest.approx(relation_by_example((q_s, q_s), (q_t, q_t), 8), rel=1e-9)


def test_relation_kl_has_finite_gradients_and_ignores_autocast():
    student = tensor(B, N, H, seed=3).float().mul(9).requires_grad_()
    teacher = tensor(B, N, H, seed=4).float().mul(9)
    loss = losses.relation_kl(student, teacher, mask())
    with torch.autocast("cpu", torch.bfloat16):
        assert losses.relation_kl(student, teacher, mask()).item() == loss.item()
    loss.backward()
    assert student.grad.isfinite().all()
    assert not student.grad[~mask()].any()
    assert student.grad[0].any()


def test_soft_targets_are_scaled_except_for_regression(classes, numbers):
    for (student, teacher, batch), factor in ((classes, 9), (numbers, 1)):
        expected = factor * losses.kl_loss(student, teacher, batch, 3.0)
        torch.testing.assert_close(losses.soft_target_loss(student, teacher, batch, 3.0), expected)


def test_padding_changes_no_loss():
    student, teacher = attention(3)[0], attention(4)[0]
    hidden, target = tensor(B, N, H, seed=5), tensor(B, N, H, seed=6)
    wider = torch.nn.functional.pad(mask(), (0, 3), value=False)

    def pad(values):
        return torch.nn.functional.pad(values, (0, 0, 0, 3), value=99.0)

    def padded(vectors):
        return tuple(map(pad, vectors))

    tokens = losses.token_mse(pad(hidden), pad(target), wider)
    torch.testing.assert_close(tokens, losses.token_mse(hidden, target, mask()))
    relation = losses.relation_kl(pad(hidden), pad(target), wider, heads=2)
    torch.testing.assert_close(relation, losses.relation_kl(hidden, target, mask(), heads=2))
    for loss in (losses.score_mse, losses.attention_kl, losses.attention_cosine):
        narrow = loss(student, [teacher, student], mask())
        torch.testing.assert_close(loss(padded(student), [padded(teacher), padded(student)], wider), narrow)


def test_equal_inputs_have_zero_loss(classes, spans):
    for student, _, batch in (classes, spans):
        assert losses.kl_loss(student, student.clone(), batch).item() == pytest.approx(0, abs=1e-12)
    vectors = attention(3)[0]
    for loss in (losses.score_mse, losses.attention_kl, losses.attention_cosine):
        assert loss(vectors, [vectors], mask()).item() == pytest.approx(0, abs=1e-12)
    vectors = tensor(B, N, H, seed=3)
    assert losses.relation_kl(vectors, vectors.clone(), mask()).item() == pytest.approx(0, abs=1e-12)


def test_half_precision_is_reduced_in_float32(classes):
    student, teacher, batch = classes
    loss = losses.kl_loss(student.bfloat16(), teacher.bfloat16(), batch)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(losses.kl_loss(student, teacher, batch).item(), rel=0.05)


def test_projection_starts_as_the_identity_between_equal_widths():
    values = tensor(2, 4, seed=1).float()
    torch.testing.assert_close(losses.projection(4, 4)(values), values)
    assert losses.projection(4, 6)(values).shape == (2, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_directions_are_unit_vectors_but_zero_without_gradient_between_equal_vectors(dtype):
    """Also between vectors that only rounding tells apart; a distance of 1e-3 is none."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    origin = torch.randn(4, 16, dtype=dtype)
    moved = torch.tensor([1.0, 1e-3, 4 * torch.finfo(exact).eps, 0.0], dtype=exact)[:, None] * torch.randn(4, 16)
    vectors = (origin.to(exact) + moved).requires_grad_()
    found = losses.directions(vectors, origin)
    assert found.dtype == exact
    assert found.norm(dim=-1).tolist() == pytest.approx([1, 1, 0, 0])
    torch.testing.assert_close(found[:2], losses.unit_vectors(vectors - origin)[:2])
    found.sum().backward()
    assert vectors.grad[:2].abs().min() > 0
    assert vectors.grad[2:].abs().max() == 0


def test_squared_logit_distances_of_qa_ignore_positions_without_an_answer(spans):
    student, teacher, batch = spans
    expected = [
        [
            sum((a - b) ** 2 for a, b, allowed in zip(s, t, mask, strict=True) if allowed)
            for s, t in zip(own, theirs, strict=True)
        ]
        for own, theirs, mask in zip(student.tolist(), teacher.tolist(), batch.answer_mask.tolist(), strict=True)
    ]
    student = student.clone().requires_grad_()
    distances = losses.squared_logit_distances(student, teacher * 0.5, batch)
    distances.sum().backward()
    assert student.grad.isfinite().all()
    torch.testing.assert_close(
        losses.squared_logit_distances(student.detach(), teacher, batch), torch.tensor(expected).to(distances)
    )
    counts = batch.answer_mask.sum(-1, keepdim=True)
    torch.testing.assert_close(
        losses.squared_logit_distances(student, teacher * 0.5, batch, "mean"), distances / counts
    )


@pytest.mark.parametrize("factor", [1.0, 0.01])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_logit_distances_of_qa_ignore_positions_without_a_teacher_token(spans, dtype, factor):
    """A teacher with another tokenizer has the lowest value there, which some methods multiply by a factor."""
    student, teacher, batch = spans
    lowest = torch.finfo(dtype).min
    student, teacher = (z.clamp(min=lowest).to(dtype) for z in (student, teacher))
    teacher[0, 1, 3] = lowest
    student = student.requires_grad_()
    distances = losses.squared_logit_distances(student, factor * teacher, batch)
    both = [(0, 0), (0, 2)]  # example and position
    expected = sum((student[b, 1, n] - factor * teacher[b, 1, n]) ** 2 for b, n in both)
    assert distances[0, 1].item() == pytest.approx(expected.item(), rel=1e-5)
    mean = losses.squared_logit_distances(student, factor * teacher, batch, "mean")
    assert mean[0, 1].item() == pytest.approx(expected.item() / 2, rel=1e-5)
    distances.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad[0, 1, 3] == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_a_position_without_a_teacher_token_has_the_probability_zero(spans, temperature):
    student, teacher, batch = spans
    teacher[0, 1, 3] = torch.finfo(teacher.dtype).min
    student = student.requires_grad_()
    loss = losses.kl_loss(student, teacher, batch, temperature)
    own, theirs = (rows(z, batch) for z in (student, teacher))
    theirs[1][2] = -math.inf
    own, theirs = ([softmax([z / temperature for z in row]) for row in z] for z in (own, theirs))
    expected = list(map(kl, theirs, own))
    assert loss.item() == pytest.approx(sum(expected) / len(expected))
    loss.backward()
    assert student.grad.isfinite().all()
