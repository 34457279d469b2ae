"""Tokenised examples in the cache: the same as made anew, made once, whole or not at all."""

import shutil
import threading
import tracemalloc

import numpy as np
import pytest

from harness.api.errors import UserError
from harness.tasks import tokenized_cache
from harness.tasks.features import CHUNK, Row
from harness.tasks.tokenization import chunked, concatenate

WHAT = {"data": "d", "tokenizer": "t"}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))


def rows(count, length=7):
    """Of all columns that there are, one after another."""
    for index in range(count):
        n = 1 + (index * 5) % length
        yield Row(
            id=f"é{index}",
            example=index // 2,
            input_ids=list(range(n)),
            token_type_ids=[1] * n,
            word_ids=[-1] * n,
            label=(0, n - 1),
            answer_mask=np.arange(n) > 0,
            offsets=np.full((n, 2), index, np.int32),
            places=np.full((n, 3), index, np.int32),
        )


def same(one, other):
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        assert array.dtype == other.arrays()[name].dtype
        assert np.array_equal(array, other.arrays()[name]), name


@pytest.mark.parametrize("count", [0, 3, CHUNK, 2 * CHUNK + 9])
def test_what_is_kept_is_what_was_made(count):
    made = tokenized_cache.load_or_build(WHAT, lambda: chunked("qa", rows(count)))
    same(made, concatenate(chunked("qa", rows(count))))
    again = tokenized_cache.load_or_build(WHAT, lambda: pytest.fail("it was made again"))
    same(again, made)
    assert count == 0 or isinstance(again.input_ids.values, np.memmap)
    assert not again.input_ids.starts.flags.writeable


def test_other_parts_are_other_rows():
    tokenized_cache.load_or_build(WHAT, lambda: chunked("qa", rows(3)))
    assert len(tokenized_cache.load_or_build({**WHAT, "data": "e"}, lambda: chunked("qa", rows(4)))) == 4


def broken(error):
    yield from chunked("qa", rows(2))
    raise error


def test_nothing_is_kept_of_what_was_not_finished():
    with pytest.raises(KeyboardInterrupt):
        tokenized_cache.load_or_build(WHAT, lambda: broken(KeyboardInterrupt()))
    assert len(tokenized_cache.load_or_build(WHAT, lambda: chunked("qa", rows(5)))) == 5


def test_a_full_disk_is_told():
    with pytest.raises(UserError, match="no room is left for tokenised data"):
        tokenized_cache.load_or_build(WHAT, lambda: broken(OSError(28, "No space left on device")))


@pytest.mark.parametrize("damage", ["cut", "gone", "no manifest", "junk"])
def test_what_is_damaged_is_made_again(damage, tmp_path):
    tokenized_cache.load_or_build(WHAT, lambda: chunked("qa", rows(5)))
    (folder,) = (path for path in (tmp_path / "encoded").iterdir() if path.is_dir())
    if damage == "cut":
        (folder / "input_ids.values.bin").write_bytes(b"12")
    elif damage == "gone":
        (folder / "labels.bin").unlink()
    elif damage == "junk":
        (folder / "manifest.json").write_bytes(b"\xff{")
    else:
        (folder / "manifest.json").unlink()
    made = []
    same(
        tokenized_cache.load_or_build(WHAT, lambda: made.append(1) or chunked("qa", rows(5))),
        concatenate(chunked("qa", rows(5))),
    )
    assert made == [1]


def test_it_outlives_the_cache(tmp_path):
    kept = tokenized_cache.load_or_build(WHAT, lambda: chunked("qa", rows(5)))
    shutil.rmtree(tmp_path / "encoded")
    same(kept, concatenate(chunked("qa", rows(5))))


def test_of_two_that_come_at_once_one_makes_it():
    made, found, begin = [], [], threading.Barrier(4)

    def make():
        made.append(1)
        return chunked("qa", rows(3 * CHUNK))

    def ask():
        begin.wait()
        found.append(tokenized_cache.load_or_build(WHAT, make))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert [len(each) for each in found] == [3 * CHUNK] * 4


def peak(chunks):
    tracemalloc.start()
    try:
        tokenized_cache.load_or_build({"rows": chunks}, lambda: chunked("qa", rows(chunks * CHUNK)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_data():
    """Lists of a thousand rows are in memory at once, whatever their number."""
    assert peak(12) < 1.5 * peak(2)


def test_a_second_run_of_a_suite_tokenises_nothing(small, monkeypatch):
    from harness.tasks import tokenization as module

    real, asked = module._sentences, []
    monkeypatch.setattr(module, "_sentences", lambda *a, **k: asked.append(1) or real(*a, **k))
    small.run("methods=[finetune]", "seeds=[1]", "teacher_cache.max_gb=0")
    assert len(asked) == 2  # training and validation
    small.run("methods=[finetune, logit_kd]", "seeds=[1, 2]", "teacher_cache.max_gb=0")
    assert len(asked) == 2
    small.run("methods=[finetune]", "seeds=[1]", "training.max_length=12", "teacher_cache.max_gb=0")
    assert len(asked) == 4
