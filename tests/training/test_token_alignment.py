"""Two tokenizers' tokens meet in characters: against plain loops, and against the very tensors where they are one."""

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.model_outputs import Layered, ModelOutputs
from harness.tasks.cross_tokenizer import read_along
from harness.tasks.token_offsets import NOWHERE
from harness.tasks.tokenization import encode, join
from harness.training import cohort
from harness.training.batch_stream import BatchStream, encode_task, encode_with_other_tokenizer
from harness.training.token_alignment import Alignment
from tests.support.tiny_tasks import questions, task
from tests.support.tokenizer_factory import WORDS, bytelevel, corpus, wordpiece
from tests.support.training_world import CPU, TEXT

READERS = {"wordpiece": wordpiece(), "bytelevel": bytelevel(), "with blanks": bytelevel(trim_offsets=False)}
PAIRS = [("wordpiece", "bytelevel"), ("bytelevel", "wordpiece"), ("with blanks", "wordpiece")]
texts = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=30))


def pairs(*rows):
    first, second = zip(*rows, strict=True)
    ids = [str(i) for i in range(len(rows))]
    return Dataset.from_dict({"id": ids, "text": first, "text_pair": second, "label": [0] * len(rows)})


def read(data, student, teacher, *, kind="classification", max_length=64, most=None):
    shown = encode(data, task(kind), READERS[student], max_length, places=True)
    along = join(read_along(shown, data, READERS[teacher], most))
    return shown, along, Alignment.of(shown, along, range(len(shown)), CPU)


def characters(encoded, row, texts):
    """Of each token: what it covers, blanks apart; special tokens, the k-th run of them."""
    return [
        {("special", int(s))} if s < 0 else {(int(s), c) for c in range(b, e) if not texts[s][c].isspace()}
        for s, b, e in encoded.places[row]
    ]


def loop(own, theirs, places):
    """For each of the student's tokens, the teacher's tokens that it meets."""
    met = []
    for i, letters in enumerate(own):
        sharing = [j for j, others in enumerate(theirs) if letters & others]
        if not sharing:
            sentence, begin = places[0][i][:2]
            before = [j for j, (s, b, e) in enumerate(places[1]) if s == sentence and b < begin and b < e]
            sharing = before[-1:] or [0]
        met.append(sharing)
    return met


def numbers(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("most", [None, 20])
def test_states_are_means_over_the_tokens_that_share_a_character(student, teacher, most):
    data = pairs(*zip(corpus(12, seed=1), corpus(12, seed=2), strict=True), (" cafe\u0301  東京 ", "\u200b"))
    shown, along, alignment = read(data, student, teacher, most=most)
    states = numbers((len(along), int(along.lengths.max()), 5))
    carried = alignment.states(states)
    assert carried.shape == (len(shown), int(shown.lengths.max()), 5)
    several = 0
    for row, example in enumerate(data):
        both = [example["text"], example["text_pair"]]
        met = loop(characters(shown, row, both), characters(along, row, both), (shown.places[row], along.places[row]))
        several += sum(len(each) > 1 for each in met)
        expected = torch.stack([sum(states[row, j] for j in each) / len(each) for each in met])
        torch.testing.assert_close(carried[row, : len(met)], expected, rtol=1e-12, atol=1e-12)
        assert not carried[row, len(met) :].any()
    assert several > 5


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=4), most=st.sampled_from([None, 9]))
def test_every_real_token_has_weights_that_sum_to_one(student, teacher, rows, most):
    shown, along, alignment = read(pairs(*rows), student, teacher, max_length=16, most=most)
    carried = alignment.states(torch.ones(len(along), int(along.lengths.max()), 1, dtype=torch.float64))
    real = torch.arange(carried.shape[1]) < torch.tensor(shown.lengths)[:, None]
    torch.testing.assert_close(carried[..., 0], real.double())


def test_specials_meet_in_their_order():
    shown, along, alignment = read(pairs(("sun", "lamp")), "wordpiece", "bytelevel")
    special = {name: (each.places[0][:, 0] < 0).nonzero()[0].tolist() for name, each in (("s", shown), ("t", along))}
    assert [len(special["s"]), len(special["t"])] == [3, 4]  # [CLS] [SEP] [SEP]; <s> </s></s> </s>
    cls, *between, last = special["t"]
    states = numbers((1, int(along.lengths[0]), 3))
    expected = [states[0, cls], states[0, between].mean(0), states[0, last]]
    torch.testing.assert_close(alignment.states(states)[0, special["s"]], torch.stack(expected))


def test_letters_that_take_several_tokens():
    data = Dataset.from_dict({"id": ["0"], "text": ["🜁 sun"], "label": [0]})
    _, along, alignment = read(data, "wordpiece", "bytelevel")
    smile = [j for j, (s, b, e) in enumerate(along.places[0]) if (s, b, e) == (0, 0, 1)]
    assert len(smile) >= 2
    states = numbers((1, int(along.lengths[0]), 3))
    torch.testing.assert_close(alignment.states(states)[0, 1], states[0, smile].mean(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_with_one_tokenizer_nothing_changes(dtype):
    data = pairs(*zip(corpus(8, seed=1), corpus(8, seed=2), strict=True))
    shown, along, alignment = read(data, "wordpiece", "wordpiece")
    real = torch.arange(int(shown.lengths.max())) < torch.tensor(shown.lengths)[:, None]
    states = numbers((len(along), int(along.lengths.max()), 4), dtype=dtype)
    carried = alignment.states(states)
    assert carried.dtype == dtype
    assert torch.equal(carried[real], states[real])


def test_what_stands_at_no_token_stays():
    _, along, alignment = read(pairs(("sun lamp", "unbelievable")), "wordpiece", "bytelevel")
    length = int(along.lengths[0])
    states, logits, pooled = numbers((1, length, 4)), numbers((1, 2)), numbers((1, 4))
    given = ModelOutputs(logits, pooled, states, hidden=Layered("hidden", {2: states + 1}))
    carried = alignment.align(given)
    assert carried.logits is logits
    assert carried._pooled is pooled
    torch.testing.assert_close(carried.embeddings, alignment.states(states))
    torch.testing.assert_close(carried.hidden[2], alignment.states(states + 1))
    assert carried.hidden.keys() == {2}
    assert given.embeddings.shape[1] == length


def answering(student, teacher, max_length=40, most=None):
    context = "  ".join(corpus(5, seed=5))
    data = questions(
        ("who runs", context, context[30:60].strip()),
        ("where", "sun e\u0301tude \u200b lamp", "sun"),
        ("", "coal", None),
    )
    return data, *read(data, student, teacher, kind="qa", max_length=max_length, most=most)


def logits_of(along, seed=0, dtype=torch.float64):
    raw = 4 * numbers((len(along), 2, int(along.lengths.max())), seed, dtype)
    allowed = torch.from_numpy(along.answer_mask.padded(range(len(along)), raw.shape[2], False))
    return raw.masked_fill(~allowed[:, None], torch.finfo(dtype).min)


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("most", [None, 24])
def test_an_answers_distribution_moves_to_the_characters_where_it_was(student, teacher, most):
    _, shown, along, alignment = answering(student, teacher, most=most)
    logits = logits_of(along)
    carried = alignment.answers(logits)
    assert carried.isfinite().all()
    probabilities = carried.softmax(-1)
    for row in range(len(shown)):
        own, theirs = shown.places[row], along.places[row]
        allowed = [i for i, yes in enumerate(shown.answer_mask[row]) if yes]
        expected = torch.zeros(2, carried.shape[2], dtype=torch.float64)
        for j, (sentence, begin, end) in enumerate(theirs):
            same = [i for i in allowed if own[i, 0] == sentence]
            first = next((i for i in same if own[i, 2] > begin), 0)
            last = next((i for i in reversed(same) if own[i, 1] < end), 0)
            for kind, target in enumerate((first, last)):
                expected[kind, target] += logits[row, kind].softmax(-1)[j]
        torch.testing.assert_close(probabilities[row], expected, rtol=1e-9, atol=1e-30)
        forbidden = [i for i in range(carried.shape[2]) if i not in allowed]
        assert (carried[row][:, forbidden] == torch.finfo(carried.dtype).min).all()
        assert (carried[row][:, allowed] > -1e4).all()


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_teacher_that_is_sure_of_the_answer_makes_its_student_sure(student, teacher):
    _, shown, along, alignment = answering(student, teacher)
    labels = torch.from_numpy(along.labels)
    logits = logits_of(along)
    sure = logits + 100 * torch.nn.functional.one_hot(labels, logits.shape[2])
    for row, best in enumerate(alignment.answers(sure).argmax(-1).tolist()):
        assert best == shown.labels[row].tolist()
    assert (labels > 0).any()


def test_a_temperature_and_half_precision_leave_it_finite():
    _, _, along, alignment = answering("wordpiece", "bytelevel")
    logits = logits_of(along, dtype=torch.float32)
    carried = alignment.answers(logits)
    for temperature in (0.5, 1.0, 4.0):
        assert (carried / temperature).softmax(-1).isfinite().all()
        torch.testing.assert_close((carried / temperature).softmax(-1).sum(-1), torch.ones(carried.shape[:2]))
    low = torch.finfo(torch.bfloat16).min
    half = logits.bfloat16().masked_fill(logits < -1e30, low)
    torch.testing.assert_close(alignment.answers(half).softmax(-1), carried.softmax(-1), atol=0.05, rtol=0.1)


def test_with_one_tokenizer_answers_are_the_same_distribution():
    _, _, along, alignment = answering("wordpiece", "wordpiece")
    logits = logits_of(along)
    torch.testing.assert_close(alignment.answers(logits).softmax(-1), logits.softmax(-1))


def test_padding_stands_nowhere():
    shown, _, alignment = read(pairs(("sun", "lamp"), ("sun lamp fire", "lamp")), "wordpiece", "bytelevel")
    sentence = alignment._student[0].squeeze(-1)
    assert ((sentence == NOWHERE).sum(1) == int(shown.lengths.max()) - torch.tensor(shown.lengths)).all()


@pytest.mark.parametrize("method", ["mt_bert", "logit_kd", "pkd"])
@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_a_run_learns_the_same_from_a_teacher_that_reads_along_with_its_own_tokenizer(world, method, kind):
    from harness.models import tokenizers

    here = world(kind, epochs=1, log_every=1)
    tokenizer = tokenizers.whole_word([TEXT, "which one"])
    native = here.run(method)
    list(here.cohort(native).train(stop=lambda: False, checkpoint=lambda run: None))
    students = encode_task(here.data.task, here.data.splits, tokenizer, "reader", 24, places=True)
    along = encode_with_other_tokenizer(students, tokenizer, "reader/24", 24)
    stream = BatchStream(students, batch_size=8, data_seed=5, others={"reader/24": along})
    run = here.run(method)
    teacher = cohort.Teacher("base", here.teacher(), "reader/24", CPU)
    list(cohort.Cohort(stream, {"base": teacher}, [run], CPU).train(stop=lambda: False, checkpoint=lambda run: None))
    assert (native.error, run.error) == (None, None)
    assert run.history[0].terms == pytest.approx(native.history[0].terms, rel=1e-6, abs=1e-6)
    assert len(run.history) == run.steps
    for own, other in zip(run.history, native.history, strict=True):
        assert own.terms == pytest.approx(other.terms, rel=1e-4)  # rounding grows with the steps
