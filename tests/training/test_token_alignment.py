"""Alignment of two tokenizers through characters, compared with plain loops, and with one tokenizer for both."""

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api.batch import IGNORED
from harness.api.model_outputs import Layered, ModelOutputs
from harness.tasks.cross_tokenizer import retokenize
from harness.tasks.token_offsets import NOWHERE
from harness.tasks.tokenization import concatenate, encode
from harness.training.batch_stream import BatchStream, encode_task, encode_with_other_tokenizer
from harness.training.cohort import Cohort
from harness.training.teacher import Teacher
from harness.training.token_alignment import Alignment
from tests.support.tiny_tasks import questions, task
from tests.support.tokenizer_factory import WORDS, bytelevel, corpus, wordpiece
from tests.support.training_world import CPU, TEXT

TOKENIZERS = {"wordpiece": wordpiece(), "bytelevel": bytelevel(), "with blanks": bytelevel(trim_offsets=False)}
PAIRS = [("wordpiece", "bytelevel"), ("bytelevel", "wordpiece"), ("with blanks", "wordpiece")]
texts = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(max_size=30))


def pairs(*rows):
    first, second = zip(*rows, strict=True)
    ids = [str(i) for i in range(len(rows))]
    return Dataset.from_dict({"id": ids, "text": first, "text_pair": second, "label": [0] * len(rows)})


def read(data, student, teacher, *, kind="classification", max_length=64, most=None):
    students = encode(data, task(kind), TOKENIZERS[student], max_length, places=True)
    teachers = concatenate(retokenize(students, data, TOKENIZERS[teacher], most))
    return students, teachers, Alignment.of(students, teachers, range(len(students)), CPU)


def characters(encoded, row, texts):
    """The characters that each token covers, without blanks; for special tokens the number of their run."""
    return [
        {("special", int(s))} if s < 0 else {(int(s), c) for c in range(b, e) if not texts[s][c].isspace()}
        for s, b, e in encoded.places[row]
    ]


def loop(student_tokens, teacher_tokens, places):
    """For each of the student's tokens, the matched teacher's tokens."""
    met = []
    for i, letters in enumerate(student_tokens):
        sharing = [j for j, others in enumerate(teacher_tokens) if letters & others]
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
    students, teachers, alignment = read(data, student, teacher, most=most)
    states = numbers((len(teachers), int(teachers.lengths.max()), 5))
    aligned = alignment.states(states)
    assert aligned.shape == (len(students), int(students.lengths.max()), 5)
    several = 0
    for row, example in enumerate(data):
        both = [example["text"], example["text_pair"]]
        met = loop(
            characters(students, row, both),
            characters(teachers, row, both),
            (students.places[row], teachers.places[row]),
        )
        several += sum(len(matches) > 1 for matches in met)
        expected = torch.stack([sum(states[row, j] for j in matches) / len(matches) for matches in met])
        torch.testing.assert_close(aligned[row, : len(met)], expected, rtol=1e-12, atol=1e-12)
        assert not aligned[row, len(met) :].any()
    assert several > 5


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@settings(max_examples=60)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=4), most=st.sampled_from([None, 9]))
def test_every_real_token_has_weights_that_sum_to_one(student, teacher, rows, most):
    students, teachers, alignment = read(pairs(*rows), student, teacher, max_length=16, most=most)
    aligned = alignment.states(torch.ones(len(teachers), int(teachers.lengths.max()), 1, dtype=torch.float64))
    real = torch.arange(aligned.shape[1]) < torch.tensor(students.lengths)[:, None]
    torch.testing.assert_close(aligned[..., 0], real.double())


def test_special_tokens_match_in_order():
    students, teachers, alignment = read(pairs(("sun", "lamp")), "wordpiece", "bytelevel")
    special = {
        name: (encoded.places[0][:, 0] < 0).nonzero()[0].tolist()
        for name, encoded in (("s", students), ("t", teachers))
    }
    assert [len(special["s"]), len(special["t"])] == [3, 4]  # [CLS] [SEP] [SEP]; <s> </s></s> </s>
    cls, *between, last = special["t"]
    states = numbers((1, int(teachers.lengths[0]), 3))
    expected = [states[0, cls], states[0, between].mean(0), states[0, last]]
    torch.testing.assert_close(alignment.states(states)[0, special["s"]], torch.stack(expected))


def test_characters_that_take_several_tokens():
    data = Dataset.from_dict({"id": ["0"], "text": ["🜁 sun"], "label": [0]})
    _, teachers, alignment = read(data, "wordpiece", "bytelevel")
    smile = [j for j, (s, b, e) in enumerate(teachers.places[0]) if (s, b, e) == (0, 0, 1)]
    assert len(smile) >= 2
    states = numbers((1, int(teachers.lengths[0]), 3))
    torch.testing.assert_close(alignment.states(states)[0, 1], states[0, smile].mean(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_with_one_tokenizer_nothing_changes(dtype):
    data = pairs(*zip(corpus(8, seed=1), corpus(8, seed=2), strict=True))
    students, teachers, alignment = read(data, "wordpiece", "wordpiece")
    real = torch.arange(int(students.lengths.max())) < torch.tensor(students.lengths)[:, None]
    states = numbers((len(teachers), int(teachers.lengths.max()), 4), dtype=dtype)
    aligned = alignment.states(states)
    assert aligned.dtype == dtype
    assert torch.equal(aligned[real], states[real])


def test_outputs_per_example_are_unchanged():
    _, teachers, alignment = read(pairs(("sun lamp", "unbelievable")), "wordpiece", "bytelevel")
    length = int(teachers.lengths[0])
    states, logits, pooled = numbers((1, length, 4)), numbers((1, 2)), numbers((1, 4))
    outputs = ModelOutputs(logits, pooled, states, hidden=Layered("hidden", {2: states + 1}))
    aligned = alignment.align(outputs)
    assert aligned.logits is logits
    assert aligned._pooled is pooled
    torch.testing.assert_close(aligned.embeddings, alignment.states(states))
    torch.testing.assert_close(aligned.hidden[2], alignment.states(states + 1))
    assert aligned.hidden.keys() == {2}
    assert outputs.embeddings.shape[1] == length


def answering(student, teacher, max_length=40, most=None):
    context = "  ".join(corpus(5, seed=5))
    data = questions(
        ("who runs", context, context[30:60].strip()),
        ("where", "sun e\u0301tude \u200b lamp", "sun"),
        ("", "coal", None),
    )
    return data, *read(data, student, teacher, kind="qa", max_length=max_length, most=most)


def logits_of(teachers, seed=0, dtype=torch.float64):
    raw = 4 * numbers((len(teachers), 2, int(teachers.lengths.max())), seed, dtype)
    allowed = torch.from_numpy(teachers.answer_mask.padded(range(len(teachers)), raw.shape[2], False))
    return raw.masked_fill(~allowed[:, None], torch.finfo(dtype).min)


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("most", [None, 24])
def test_answer_probabilities_move_to_the_same_characters(student, teacher, most):
    _, students, teachers, alignment = answering(student, teacher, most=most)
    logits = logits_of(teachers)
    aligned = alignment.answers(logits)
    assert aligned.isfinite().all()
    probabilities = aligned.softmax(-1)
    for row in range(len(students)):
        student_offsets, teacher_offsets = students.places[row], teachers.places[row]
        allowed = [i for i, yes in enumerate(students.answer_mask[row]) if yes]
        expected = torch.zeros(2, aligned.shape[2], dtype=torch.float64)
        receivers = [set(), set()]
        for j, (sentence, begin, end) in enumerate(teacher_offsets):
            same = [i for i in allowed if student_offsets[i, 0] == sentence]
            first = next((i for i in same if student_offsets[i, 2] > begin), 0)
            last = next((i for i in reversed(same) if student_offsets[i, 1] < end), 0)
            for kind, target in enumerate((first, last)):
                expected[kind, target] += logits[row, kind].softmax(-1)[j]
                receivers[kind].add(target)
        torch.testing.assert_close(probabilities[row], expected, rtol=1e-9, atol=1e-30)
        for values, received in zip(aligned[row], receivers, strict=True):
            assert received <= {*allowed}
            lowest = values == torch.finfo(aligned.dtype).min
            assert lowest.tolist() == [i not in received for i in range(len(values))]
            assert (values[~lowest] > -1e4).all()


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_a_certain_answer_of_the_teacher_is_certain_for_the_student(student, teacher):
    _, students, teachers, alignment = answering(student, teacher)
    labels = torch.from_numpy(teachers.labels)
    logits = logits_of(teachers)
    sure = logits + 100 * torch.nn.functional.one_hot(labels, logits.shape[2])
    for row, best in enumerate(alignment.answers(sure).argmax(-1).tolist()):
        assert best == students.labels[row].tolist()
    assert (labels > 0).any()


def test_aligned_logits_are_finite_with_temperature_and_half_precision():
    _, _, teachers, alignment = answering("wordpiece", "bytelevel")
    logits = logits_of(teachers, dtype=torch.float32)
    aligned = alignment.answers(logits)
    for temperature in (0.5, 1.0, 4.0):
        assert (aligned / temperature).softmax(-1).isfinite().all()
        torch.testing.assert_close((aligned / temperature).softmax(-1).sum(-1), torch.ones(aligned.shape[:2]))
    low = torch.finfo(torch.bfloat16).min
    half = logits.bfloat16().masked_fill(logits < -1e30, low)
    torch.testing.assert_close(alignment.answers(half).softmax(-1), aligned.softmax(-1), atol=0.05, rtol=0.1)


def test_with_one_tokenizer_answers_are_the_same_distribution():
    _, _, teachers, alignment = answering("wordpiece", "wordpiece")
    logits = logits_of(teachers)
    torch.testing.assert_close(alignment.answers(logits).softmax(-1), logits.softmax(-1))


def test_padding_has_no_offsets():
    students, _, alignment = read(pairs(("sun", "lamp"), ("sun lamp fire", "lamp")), "wordpiece", "bytelevel")
    sentence = alignment._student[0].squeeze(-1)
    assert ((sentence == NOWHERE).sum(1) == int(students.lengths.max()) - torch.tensor(students.lengths)).all()


@pytest.mark.parametrize("method", ["mt_bert", "logit_kd", "pkd"])
@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_a_teacher_aligned_to_its_own_tokenizer_gives_the_same_training(world, method, kind):
    from harness.models import tokenizers

    here = world(kind, epochs=1, log_every=1)
    tokenizer = tokenizers.whole_word([TEXT, "which one"])
    native = here.run(method)
    list(here.cohort(native).train(stop=lambda: False, checkpoint=lambda run: None))
    students = encode_task(here.data.task, here.data.splits, tokenizer, "tokenizer", 24, places=True)
    teachers = encode_with_other_tokenizer(students, tokenizer, "tokenizer/24", 24)
    stream = BatchStream(
        students, batch_size=8, batching=here.training.batching, data_seed=5, others={"tokenizer/24": teachers}
    )
    run = here.run(method)
    teacher = Teacher("base", here.teacher(), "tokenizer/24", CPU)
    list(Cohort(stream, {"base": teacher}, [run], CPU).train(stop=lambda: False, checkpoint=lambda run: None))
    assert (native.error, run.error) == (None, None)
    assert run.history[0].terms == pytest.approx(native.history[0].terms, rel=1e-6, abs=1e-6)
    assert len(run.history) == run.steps
    for aligned, expected in zip(run.history, native.history, strict=True):
        assert aligned.terms == pytest.approx(expected.terms, rel=1e-4)  # rounding grows with the steps


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_logits_of_words_are_those_at_the_teachers_first_token_of_the_word(student, teacher):
    rows = [line.split() for line in corpus(6, seed=4)]
    tags = [[0] * len(row) for row in rows]
    data = Dataset.from_dict({"id": [str(i) for i in range(6)], "tokens": rows, "tags": tags})
    students, teachers, alignment = read(data, student, teacher, kind="token_classification", max_length=20)
    logits = numbers((len(teachers), int(teachers.lengths.max()), 5))
    aligned = alignment.align(ModelOutputs(_logits=logits)).logits
    assert aligned.shape == (len(students), int(students.lengths.max()), 5)
    compared = 0
    for row in range(len(students)):
        first = {int(teachers.word_ids[row][at]): at for at in (teachers.labels[row] != IGNORED).nonzero()[0]}
        for at in (students.labels[row] != IGNORED).nonzero()[0]:
            assert torch.equal(aligned[row, at], logits[row, first[int(students.word_ids[row][at])]])
            compared += 1
    assert compared == sum(map(len, rows))
