"""The submission to the GLUE benchmark: predictions of the test sets in the files that its server expects.

A submission is a zip with one file for each test set, without folders. A file has the header ``index<tab>prediction``
and a row for each example, with the position of the example, from 0, and the predicted class: a word (entailment, ...)
for the inference tasks MNLI, QNLI, RTE and the diagnostic set AX, 0 or 1 for the others, and for STS-B a number from 0
to 5. The server refuses zips in which a file, or a row, is missing. Source: gluebenchmark.com/faq.

AX has no training set: the student of MNLI answers it.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api.task import Task
from harness.tasks.glue import STSB_RANGE

HEADER = "index\tprediction\n"

DATE = (1980, 1, 1, 0, 0, 0)
"""Of the files in a zip, so that the same predictions give the same bytes."""


@dataclass(frozen=True)
class TestSet:
    """A file of a submission.

    Attributes:
        file: its name.
        task: the task whose student answers it.
        config, split: where the data set has it.
        rows: number of examples.
        words: whether predictions are the names of the classes; else their numbers.
    """

    file: str
    task: str
    config: str
    split: str
    rows: int
    words: bool = False


TEST_SETS = (
    TestSet("CoLA.tsv", "cola", "cola", "test", 1063),
    TestSet("SST-2.tsv", "sst2", "sst2", "test", 1821),
    TestSet("MRPC.tsv", "mrpc", "mrpc", "test", 1725),
    TestSet("STS-B.tsv", "stsb", "stsb", "test", 1379),
    TestSet("MNLI-m.tsv", "mnli", "mnli", "test_matched", 9796, words=True),
    TestSet("MNLI-mm.tsv", "mnli", "mnli", "test_mismatched", 9847, words=True),
    TestSet("QNLI.tsv", "qnli", "qnli", "test", 5463, words=True),
    TestSet("QQP.tsv", "qqp", "qqp", "test", 390965),
    TestSet("RTE.tsv", "rte", "rte", "test", 3000, words=True),
    TestSet("WNLI.tsv", "wnli", "wnli", "test", 146),
    TestSet("AX.tsv", "mnli", "ax", "test", 1104, words=True),
)


def rows_of(test: TestSet, task: Task, predictions: Sequence[str] | Sequence[float]) -> str:
    """The content of a file.

    Args:
        task: the task whose student answers it.
        predictions: names of classes; values for STS-B.

    Raises:
        ValueError: a prediction is not one of the task's classes, or not finite.
    """
    words = [_word(test, task, prediction) for prediction in predictions]
    return HEADER + "".join(f"{index}\t{word}\n" for index, word in enumerate(words))


def placeholder(test: TestSet, task: Task) -> str:
    """The content of a file for a test set without predictions: its first class, or 0, for every example."""
    return rows_of(test, task, [task.labels[0]] * test.rows if task.labels else [0.0] * test.rows)


def zipped(files: Mapping[str, str]) -> bytes:
    """A zip of files by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def shortfall(test: TestSet, count: int) -> str | None:
    """What the server would refuse in a file with `count` rows; None: nothing."""
    if count == test.rows:
        return None
    return f"{test.file}: the test split has {count:,} rows, the server expects {test.rows:,}"


def _word(test: TestSet, task: Task, prediction: str | float) -> str:
    if not task.labels:
        value = float(prediction)
        if not math.isfinite(value):
            raise ValueError(f"{test.file}: a prediction is {value}")
        least, greatest = STSB_RANGE
        return f"{min(greatest, max(least, value)):.3f}"
    if prediction not in task.labels:
        raise ValueError(f"{test.file}: {prediction!r} is not a class of {task.name}: {', '.join(task.labels)}")
    return str(prediction) if test.words else str(task.labels.index(str(prediction)))
