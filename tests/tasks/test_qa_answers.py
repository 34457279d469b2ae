"""Answers in data sets: each form, each start that can be corrected, and those that cannot."""

import pandas as pd
import pytest

from harness.api.errors import UserError
from harness.tasks.qa_answers import MAX_SHIFT, Answer, InvalidAnswerError, locate, locate_answers, parse_answers
from harness.tasks.squad import TASKS
from tests.support.hub_layout import squad_rows, write_dataset

SQUAD, SQUAD_V2 = TASKS
CONTEXT = "Denver beat Carolina in February, in California. In February it was cold."


@pytest.mark.parametrize(
    "written",
    [
        {"text": ["Denver"], "answer_start": [0]},
        {"text": "Denver", "answer_start": 0},
        {"text": ["Denver"], "start": [0]},
        [{"text": "Denver", "answer_start": 0}],
        [{"text": "Denver", "start": 0}],
        {"text": ["Denver"], "answer_start": [0.0]},
    ],
)
def test_answers_with_a_start(written):
    assert locate_answers(written, CONTEXT) == ([Answer("Denver", 0)], 0)


@pytest.mark.parametrize("written", ["Denver", ["Denver"], {"text": ["Denver"]}, [{"text": "Denver"}]])
def test_answers_without_a_start_that_occur_once(written):
    assert locate_answers(written, CONTEXT) == ([Answer("Denver", 0)], 0)


@pytest.mark.parametrize("written", [[], {"text": [], "answer_start": []}])
def test_no_answer(written):
    assert locate_answers(written, CONTEXT) == ([], 0)


@pytest.mark.parametrize(
    "written",
    [
        None,
        {"text": None, "answer_start": None},
        {"text": ["Denver"], "answer_start": [0, 5]},
        {"text": ["Denver", "Carolina"], "answer_start": [0]},
        {"text": [None], "answer_start": [0]},
        {"text": [""], "answer_start": [0]},
        {"text": ["  "], "answer_start": [0]},
        {"text": ["Denver"], "answer_start": ["0"]},
        {"text": ["Denver"], "answer_start": [True]},
        {"text": ["Denver"], "answer_start": [0.5]},
        [{"answer_start": 0}],
        [None],
        [["Denver"]],
        7,
        {},
    ],
)
def test_invalid_forms(written):
    with pytest.raises(InvalidAnswerError):
        parse_answers(written)


@pytest.mark.parametrize("start", [0, 7, -7, 10**6, -(10**18), None])
def test_a_wrong_start_of_a_text_that_occurs_once_is_corrected(start):
    assert locate(Answer("Carolina", start), CONTEXT) == Answer("Carolina", 12)


def test_of_several_occurrences_the_only_nearby_one_is_used():
    first = CONTEXT.index("February")
    assert locate(Answer("February", first + 7), CONTEXT).start == first
    assert locate(Answer("February", first), CONTEXT).start == first
    with pytest.raises(InvalidAnswerError, match="occurs 2 times elsewhere in the context"):
        locate(Answer("February", first + MAX_SHIFT + 1), CONTEXT)
    with pytest.raises(InvalidAnswerError, match="occurs 3 times elsewhere in the context"):
        locate(Answer("in", CONTEXT.index("in California") + 1), "in in in")


def test_a_text_that_is_not_in_the_context():
    with pytest.raises(InvalidAnswerError, match="'denver' at 0, which is not in the context"):
        locate(Answer("denver", 0), CONTEXT)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_starts_that_count_bytes_or_utf16_units(encoding):
    context = "\N{GRINNING FACE} é a word, a much longer stretch, and again a word"
    for place in (context.index("word"), context.rindex("word")):
        counted = len(context[:place].encode(encoding)) // (2 if encoding == "utf-16-le" else 1)
        assert counted != place
        assert locate(Answer("word", counted), context) == Answer("word", place)


def test_white_space_around_a_text_is_removed():
    assert locate(Answer(" Carolina\n", 11), CONTEXT) == Answer("Carolina", 12)
    assert locate(Answer(" Carolina", 11), CONTEXT) == Answer("Carolina", 12)
    assert locate(Answer(" Denver", -1), CONTEXT) == Answer("Denver", 0)


def folder(path, rows: pd.DataFrame) -> str:
    return str(write_dataset(path / "data", {"plain_text": {"train": rows, "validation": rows}}))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def rows(*answers) -> pd.DataFrame:
    base = squad_rows(*((f"q{index}", "Who won?", CONTEXT, ["Denver"]) for index in range(len(answers))))
    return base.assign(answers=list(answers))


def test_corrected_answers_are_counted_and_reported(tmp_path, caplog):
    shifted = rows({"text": ["Carolina"], "answer_start": [5]}, {"text": ["Denver"], "answer_start": [0]})
    splits = SQUAD.load(folder(tmp_path, shifted))
    assert splits.train["answers"][0] == [{"text": "Carolina", "start": 12}]
    assert splits.repaired == {"train": 1, "validation": 1}
    assert "split 'train': corrected the start or surrounding white space of 1 answers" in caplog.text


def test_invalid_answers_are_reported_by_id(tmp_path):
    wrong = [{"text": ["denver"], "answer_start": [0]}] * 2
    wrong.insert(1, {"text": ["Denver"], "answer_start": [0]})
    with pytest.raises(UserError, match=r"split 'train', column 'answers', row 0 \(id 'q0'\): found 'denver' at 0.*"
                                        r"\(2 of 3 rows, also 'q2'\)"):  # fmt: skip
        SQUAD.load(folder(tmp_path, rows(*wrong)))


@pytest.mark.parametrize(
    "answers",
    [
        [None, {"text": ["Denver"], "answer_start": [0]}],
        [{"text": ["Denver"], "answer_start": [0, 1]}] * 2,
        [{"text": "Carolina", "answer_start": None}, {"text": None, "answer_start": None}],
    ],
)
def test_answers_that_cannot_be_parsed_are_one_problem(tmp_path, answers):
    with pytest.raises(
        UserError, match=r"column 'answers', row [01] \(id 'q[01]'\): found .*, expected {text"
    ) as caught:
        SQUAD.load(folder(tmp_path, rows(*answers)))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "written",
    ["Denver", ["Denver"], [{"text": "Denver", "answer_start": 0}], {"text": "Denver", "answer_start": 0}],
)
def test_other_forms_in_files(tmp_path, written):
    splits = SQUAD.load(folder(tmp_path, rows(written, written)))
    assert splits.train["answers"][:] == [[{"text": "Denver", "start": 0}]] * 2


@pytest.mark.parametrize(("column", "values"), [("id", ["a", None]), ("context", [None, "x"]), ("question", [1, 2])])
def test_other_columns_are_checked_before_the_answers(tmp_path, column, values):
    frame = rows(*[{"text": ["Denver"], "answer_start": [0]}] * 2).assign(**{column: values})
    with pytest.raises(UserError, match=f"split 'train', column '{column}'"):
        SQUAD.load(folder(tmp_path, frame))
