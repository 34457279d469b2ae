"""The texts of scored examples, in the store."""

import pandas as pd
import pytest

from harness.api.errors import UserError
from harness.storage.store import Store

TEXTS = pd.DataFrame({"split": ["validation"] * 2, "id": ["a", "b"], "text": ["one", "two"]})


def test_texts_are_saved_once(tmp_path):
    store = Store(tmp_path / "suite")
    assert store.examples("f1") is None
    store.save_examples("f1", lambda: TEXTS)
    store.save_examples("f1", lambda: pytest.fail("they are stored"))
    pd.testing.assert_frame_equal(store.examples("f1"), TEXTS, check_dtype=False)
    assert store.examples("f2") is None


def test_a_kill_leaves_no_partial_file(tmp_path):
    store = Store(tmp_path)

    class Dying(pd.DataFrame):
        def to_parquet(self, path, **options):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save_examples("f", lambda: Dying(TEXTS))
    assert store.examples("f") is None
    store.save_examples("f", lambda: TEXTS)
    assert list(store.examples("f")["text"]) == ["one", "two"]


def test_a_corrupt_file_is_an_error_with_a_remedy(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "f.parquet").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"examples/f.parquet: cannot be read .*delete it"):
        store.examples("f")


def test_a_run_saves_the_texts_that_it_was_scored_on(small):
    small.run("seeds=[1]", "methods=[finetune]")
    store = small.store()
    (record,) = store.records()
    texts = store.examples(record.data_fingerprint)
    answers = pd.read_parquet(store.run_folder(record.key) / "predictions.parquet")
    assert list(texts["id"]) == list(answers["id"])
    assert all(2 < len(text.split()) < 10 for text in texts["text"])
    assert small.plan().file("").tasks[0].labels == ["dark", "bright"]


def test_missing_texts_are_saved_when_the_suite_is_run_again(small):
    small.run("seeds=[1]", "methods=[finetune]")
    (path,) = (small.store().folder / "examples").iterdir()
    path.unlink()
    small.run("seeds=[1]", "methods=[finetune]")
    assert path.exists()
