"""Examples that cannot be told apart, and texts that are not there."""

import pytest
from datasets import Dataset

from harness.errors import UserError
from harness.tasks.base import Splits
from harness.tasks.soundness import refuse_unsound


def split(ids, texts=None):
    return Dataset.from_dict({"id": ids, "text": texts or ["a text"] * len(ids), "label": [0] * len(ids)})


def test_ids_may_stand_in_several_splits_and_once_in_each():
    refuse_unsound("small", Splits(split(["0", "1"]), {"validation": split(["0", "1"])}))


@pytest.mark.parametrize("where", ["train", "matched"])
def test_an_id_that_stands_twice_is_told(where):
    splits = {"train": split(["0", "1", "2"]), "matched": split(["0", "1"])}
    splits[where] = split(["0", "1", "2", "1", "2", "1"])
    with pytest.raises(UserError, match=rf"task small, split {where}: 3 examples have the id '1', and 3 ids in all"):
        refuse_unsound("small", Splits(splits["train"], {"matched": splits["matched"]}))


def test_a_text_that_is_missing_is_told():
    splits = Splits(split(["0", "1", "2"], ["a", None, None]), {})
    with pytest.raises(UserError, match="task small, split train: 2 examples have no text"):
        refuse_unsound("small", splits)


def test_a_suite_is_refused_before_anything_is_trained(small, monkeypatch):
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    plugin.write_text(text.replace("ids = [str(i) for i", "ids = [str(i % 40) for i"), encoding="utf-8")
    with pytest.raises(UserError, match=r"task order, split train: 3 examples have the id '0'"):
        small.plan()
