from datasets import Dataset

from harness.api.task import Splits
from harness.tasks.example_texts import validation_texts


def test_texts_of_all_validation_splits_with_the_split_name():
    first = Dataset.from_dict({"id": ["0", "1"], "text": ["a", "b"], "text_pair": ["c", "d"], "label": [0, 1]})
    second = Dataset.from_dict({"id": ["0"], "text": ["e"], "text_pair": ["f"], "label": [1]})
    frame = validation_texts(Splits(first, {"matched": first, "mismatched": second}))
    assert frame.to_dict("list") == {
        "split": ["matched", "matched", "mismatched"],
        "id": ["0", "1", "0"],
        "text": ["a", "b", "e"],
        "text_pair": ["c", "d", "f"],
    }


def test_questions_have_a_context_and_no_answers():
    data = Dataset.from_dict(
        {"id": ["q"], "question": ["who?"], "context": ["she."], "answers": [[{"text": "she", "start": 0}]]}
    )
    assert list(validation_texts(Splits(data, {"validation": data}))) == ["split", "id", "question", "context"]
