import subprocess
import sys

from datasets import Dataset, Value, concatenate_datasets

from harness.api.task import Splits
from harness.tasks.fingerprints import fingerprint, limit_splits
from tests.support.tiny_tasks import questions


def rows(*texts, label=0):
    return Dataset.from_dict({"id": [str(i) for i in range(len(texts))], "text": texts, "label": [label] * len(texts)})


def test_a_fingerprint_depends_on_the_examples_alone():
    data = rows("one", "two", "three")
    assert fingerprint(data) == fingerprint(data.select_columns(["text", "label", "id"]))
    assert fingerprint(data) == fingerprint(concatenate_datasets([data.select([0]), data.select([1, 2])]))
    assert fingerprint(data) == fingerprint(rows("three", "two", "one").map(lambda row, i: data[i], with_indices=True))


def test_every_difference_changes_the_fingerprint():
    data = rows("one", "two")
    others = [data.select([1, 0]), data.select([0]), rows("one", "Two"), rows("one", "two", label=1)]
    others += [data.rename_column("text", "sentence"), data.cast_column("label", Value("float32"))]
    assert len({fingerprint(other) for other in [data, *others]}) == 7


def test_the_same_in_every_process_and_release():
    data = questions(("who", "the cät sat", "cät"))
    script = (
        "from datasets import Dataset; from harness.tasks.fingerprints import fingerprint;"
        f"print(fingerprint(Dataset.from_list({data.to_list()!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(data) == "f1ab5c2a00f73f88"


def test_a_smaller_limit_is_a_prefix_of_a_larger_one():
    data = rows(*(str(i) for i in range(100)))
    splits = Splits(data, {"a": data, "b": rows("x", "y")})
    ten, thirty = limit_splits(splits, train=10, validation=5), limit_splits(splits, train=30, validation=None)
    assert ten.train["id"][:] == thirty.train["id"][:10]
    assert ten.train["id"][:] != data["id"][:10]
    assert len(ten.validation["a"]) == 5
    assert len(ten.validation["b"]) == 2
    assert thirty.validation["a"]["id"][:] == data["id"][:]
