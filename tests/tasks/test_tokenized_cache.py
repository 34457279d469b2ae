"""Cached tokenized data: identical to freshly tokenized data, built once, written atomically."""

import shutil
import threading
import tracemalloc

import numpy as np
import pytest

from harness.storage.disk_errors import DiskError
from harness.tasks import tokenized_cache
from harness.tasks.features import CHUNK, TokenRow
from harness.tasks.tokenization import chunked, concatenate

PARTS = {"data": "d", "tokenizer": "t"}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))


def rows(count, length=7):
    """Rows with all columns."""
    for index in range(count):
        n = 1 + (index * 5) % length
        yield TokenRow(
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


def same(first, second):
    assert first.arrays().keys() == second.arrays().keys()
    for name, array in first.arrays().items():
        assert array.dtype == second.arrays()[name].dtype
        assert np.array_equal(array, second.arrays()[name]), name


@pytest.mark.parametrize("count", [0, 3, CHUNK, 2 * CHUNK + 9])
def test_cached_rows_equal_built_rows(count):
    built = tokenized_cache.load_or_build(PARTS, lambda: chunked("qa", rows(count)))
    same(built, concatenate(chunked("qa", rows(count))))
    cached = tokenized_cache.load_or_build(PARTS, lambda: pytest.fail("it was built again"))
    same(cached, built)
    assert count == 0 or isinstance(cached.input_ids.values, np.memmap)
    assert not cached.input_ids.starts.flags.writeable


def test_other_parts_have_another_entry():
    tokenized_cache.load_or_build(PARTS, lambda: chunked("qa", rows(3)))
    assert len(tokenized_cache.load_or_build({**PARTS, "data": "e"}, lambda: chunked("qa", rows(4)))) == 4


def broken(error):
    yield from chunked("qa", rows(2))
    raise error


def test_an_interrupted_build_caches_nothing():
    with pytest.raises(KeyboardInterrupt):
        tokenized_cache.load_or_build(PARTS, lambda: broken(KeyboardInterrupt()))
    assert len(tokenized_cache.load_or_build(PARTS, lambda: chunked("qa", rows(5)))) == 5


def test_a_full_disk_is_an_error():
    with pytest.raises(DiskError, match=r"encoded.*No space left on device \(.* MiB free\).*set HARNESS_CACHE"):
        tokenized_cache.load_or_build(PARTS, lambda: broken(OSError(28, "No space left on device")))


@pytest.mark.parametrize("damage", ["cut", "gone", "no manifest", "junk"])
def test_corrupt_entries_are_rebuilt(damage, tmp_path):
    tokenized_cache.load_or_build(PARTS, lambda: chunked("qa", rows(5)))
    (folder,) = (path for path in (tmp_path / "encoded").iterdir() if path.is_dir())
    if damage == "cut":
        (folder / "input_ids.values.bin").write_bytes(b"12")
    elif damage == "gone":
        (folder / "labels.bin").unlink()
    elif damage == "junk":
        (folder / "manifest.json").write_bytes(b"\xff{")
    else:
        (folder / "manifest.json").unlink()
    builds = []
    same(
        tokenized_cache.load_or_build(PARTS, lambda: builds.append(1) or chunked("qa", rows(5))),
        concatenate(chunked("qa", rows(5))),
    )
    assert builds == [1]


def test_opened_rows_outlive_the_cache(tmp_path):
    opened = tokenized_cache.load_or_build(PARTS, lambda: chunked("qa", rows(5)))
    shutil.rmtree(tmp_path / "encoded")
    same(opened, concatenate(chunked("qa", rows(5))))


def test_concurrent_calls_build_once():
    builds, results, begin = [], [], threading.Barrier(4)

    def build():
        builds.append(1)
        return chunked("qa", rows(3 * CHUNK))

    def call():
        begin.wait()
        results.append(tokenized_cache.load_or_build(PARTS, build))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds == [1]
    assert [len(result) for result in results] == [3 * CHUNK] * 4


def peak(chunks):
    tracemalloc.start()
    try:
        tokenized_cache.load_or_build({"rows": chunks}, lambda: chunked("qa", rows(chunks * CHUNK)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_data():
    """One chunk of rows is in memory at a time, for any number of rows."""
    assert peak(12) < 1.5 * peak(2)


def test_a_second_run_of_a_suite_tokenizes_nothing(small, monkeypatch):
    from harness.tasks import tokenization as module

    original, calls = module._sentences, []
    monkeypatch.setattr(module, "_sentences", lambda *a, **k: calls.append(1) or original(*a, **k))
    small.run("methods=[finetune]", "seeds=[1]", "teacher_cache.max_gb=0")
    assert len(calls) == 2  # training and validation
    small.run("methods=[finetune, logit_kd]", "seeds=[1, 2]", "teacher_cache.max_gb=0")
    assert len(calls) == 2
    small.run("methods=[finetune]", "seeds=[1]", "training.max_length=12", "teacher_cache.max_gb=0")
    assert len(calls) == 4
