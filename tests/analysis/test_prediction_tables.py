"""Reading predictions.parquet: what runs on one data set have in common is decoded once, and only if it is equal."""

import pandas as pd
import pyarrow.parquet as parquet
import pytest

from harness.analysis.prediction_tables import TaskExamples
from harness.api.errors import UserError
from harness.storage import checksums
from tests.support.results_factory import SQUAD, SST2


@pytest.fixture
def decoded(monkeypatch):
    """The columns that are decoded, by file."""
    seen = []
    read = parquet.ParquetFile.read

    def watched(self, columns=None, **options):
        seen.append(set(columns))
        return read(self, columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read", watched)
    return seen


def frame(labels, predictions, ids=("a", "b", "c")):
    scores = [[0.5, 1.5]] * len(labels)
    return pd.DataFrame(
        {"id": list(ids), "prediction": predictions, "scores": scores, "label": labels, "split": "validation"}
    )


def write(path, table):
    table.to_parquet(path, index=False, write_page_checksum=True)
    return path


def test_equal_examples_are_decoded_once(tmp_path, decoded):
    examples = TaskExamples(SST2)
    one = examples.read(write(tmp_path / "one", frame([0, 1, 1], [0, 1, 0])))
    two = examples.read(write(tmp_path / "two", frame([0, 1, 1], [1, 1, 1])))
    assert decoded == [{"id", "split", "label", "prediction", "scores"}, {"prediction", "scores"}]
    assert two.examples is one.examples
    assert (one.predictions.tolist(), two.predictions.tolist()) == ([0, 1, 0], [1, 1, 1])
    assert two.scores.tolist() == [[0.5, 1.5]] * 3


@pytest.mark.parametrize(
    "other",
    [
        frame([0, 1, 0], [0, 1, 0]),
        frame([0, 1, 1], [0, 1, 0], ids=("a", "b", "d")),
        frame([0, 1, 1], [0, 1, 0]).assign(split="test"),
        frame([0, 1], [0, 1], ids=("a", "b")),
    ],
)
def test_other_examples_are_told_apart(tmp_path, other):
    examples = TaskExamples(SST2)
    one = examples.read(write(tmp_path / "one", frame([0, 1, 1], [0, 1, 0])))
    two = examples.read(write(tmp_path / "two", other))
    assert two.examples is not one.examples
    assert two.examples.labels.tolist() == other["label"].tolist()
    assert two.examples.ids.tolist() == other["id"].tolist()
    assert two.examples.splits.tolist() == other["split"].tolist()


def test_equal_examples_of_another_encoding_share_one_object(tmp_path, decoded):
    """Another version of pyarrow may encode equal values differently."""
    examples = TaskExamples(SST2)
    one = examples.read(write(tmp_path / "one", frame([0, 1, 1], [0, 1, 0])))
    frame([0, 1, 1], [1, 1, 0]).to_parquet(tmp_path / "two", index=False, compression="gzip", use_dictionary=False)
    two = examples.read(tmp_path / "two")
    assert "label" in decoded[1]
    assert two.examples is one.examples


def test_answers_of_questions_are_shared(tmp_path, decoded):
    examples = TaskExamples(SQUAD)
    answers = [["red", "a red one"], ["blue"], []]
    one = examples.read(write(tmp_path / "one", frame(answers, ["red", "", "x"])))
    two = examples.read(write(tmp_path / "two", frame(answers, ["red", "y", "x"])))
    assert decoded[1] == {"prediction", "scores"}
    assert two.examples is one.examples
    assert one.examples.labels.tolist() == [("red", "a red one"), ("blue",), ()]


def test_a_file_that_differs_from_its_checksum_is_refused(tmp_path):
    path = write(tmp_path / "predictions.parquet", frame([0, 1, 1], [0, 1, 0]))
    checksums.seal(tmp_path)
    assert TaskExamples(SST2).read(path) is not None
    write(path, frame([0, 1, 1], [1, 1, 1]))
    with pytest.raises(UserError, match="does not match its checksum"):
        TaskExamples(SST2).read(path)
    path.unlink()
    assert TaskExamples(SST2).read(path) is None
