"""Damaged files in the cache: each is detected, reported and made again, and the results stay bit-identical."""

import json
import random
import shutil

import pytest
import yaml

from harness.storage import checksums
from tests.conftest import SmallSuite
from tests.execution.test_augmented_data import save_language_model
from tests.execution.test_text_students import pretrained

pytestmark = pytest.mark.xdist_group("damaged caches")  # tests that share a finished suite

KINDS = ("teachers", "tensors", "encoded", "augmented", "general")
METHODS = [
    {"logit_kd": {"general": False}},
    "tinybert",
    {"tinybert": {"label": "more", "general": False, "augment": {"variants": 2, "model": "language"}}},
]


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    draw = random.Random(file.name)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def zero(file):
    file.write_bytes(bytes(file.stat().st_size))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def unseal(file):
    """Removes the checksums, like a folder of an older version without them."""
    manifest = file.parent / "manifest.json"
    if file.parent.parent.name == "tensors":
        manifest.write_text(json.dumps(json.loads(manifest.read_text())["content"]))
    else:
        (file.parent / checksums.NAME).unlink()


def folders(cache, kind):
    return sorted(path for path in (cache / kind).iterdir() if path.is_dir())


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage_largest(cache, kind, how):
    for folder in folders(cache, kind):
        how(max(files(folder), key=lambda file: (file.stat().st_size, file.name)))


def outcome(suite):
    """Label -> key, metrics, weights and predictions of the completed runs."""
    store = suite.store()
    results = {}
    for record in store.records():
        assert record.status == "completed", record.error
        folder = store.run_folder(record.key)
        weights = (folder / "student" / "model.safetensors").read_bytes()
        results[record.label] = (record.key, record.metrics, weights, (folder / "predictions.parquet").read_bytes())
    return results


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished suite that uses every kind of cached data, and its results."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        suite = SmallSuite(folder)
        save_language_model(folder / "language")
        pretrained(folder / "base")
        (folder / "corpus.txt").write_text("sun lamp fire\nnight cave coal\n" * 40, encoding="utf-8")
        content = yaml.safe_load(suite.path.read_text(encoding="utf-8"))
        content["teachers"] = {"base": {"model": "./base", "epochs": 1, "lr": 1e-3}}
        content |= {"methods": METHODS, "seeds": [1]}
        content["general"] = {"data": "corpus.txt", "steps": 4, "batch_size": 8, "max_length": 12, "lr": 1e-3}
        suite.path.write_text(yaml.safe_dump(content), encoding="utf-8")
        assert not suite.run().failed
        assert all(folders(folder / "cache", kind) for kind in KINDS)
        return suite, outcome(suite)


@pytest.fixture
def again(finished, tmp_path, monkeypatch):
    """A copy of the suite and its cache, without results."""
    suite, _ = finished
    ignore = shutil.ignore_patterns("results", "*.lock")
    copy = SmallSuite.__new__(SmallSuite)
    copy.folder = shutil.copytree(suite.folder, tmp_path / "copy", ignore=ignore)
    copy.path = copy.folder / suite.path.name
    monkeypatch.setenv("HARNESS_CACHE", str(copy.folder / "cache"))
    return copy


def reports(caplog):
    return [record.getMessage() for record in caplog.records if "again" in record.getMessage()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit(finished, again, caplog, kind):
    damage_largest(again.folder / "cache", kind, flip_a_bit)
    assert not again.run().failed
    assert outcome(again) == finished[1]
    messages = reports(caplog)
    assert messages
    assert all("checksum" in line for line in messages)
    assert len(messages) == len(set(messages))
    caplog.clear()
    shutil.rmtree(again.folder / "results")
    again.run()
    assert reports(caplog) == [], "it was made again"


@pytest.mark.parametrize("how", [zero, cut, unseal])
def test_zeroed_cut_and_unsealed_files(finished, again, caplog, how):
    for kind in KINDS:
        damage_largest(again.folder / "cache", kind, how)
    assert not again.run().failed
    assert outcome(again) == finished[1]
    assert len(reports(caplog)) >= len(KINDS)


def test_an_undamaged_cache_is_used_as_it_is(finished, again, caplog):
    before = {file: file.stat().st_mtime_ns for file in files(again.folder / "cache") if file.suffix != ".lock"}
    assert not again.run().failed
    assert outcome(again) == finished[1]
    assert reports(caplog) == []
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("how", [flip_a_bit, zero, cut, lambda file: file.unlink()])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tensors"])
def test_damage_to_any_file_is_detected(again, kind, how):
    for folder in folders(again.folder / "cache", kind):
        checksums.verify(folder)
        for file in files(folder):
            content = file.read_bytes()
            if content:
                how(file)
                if file.exists() and file.read_bytes() == content:
                    continue  # it held nothing but zeros
                assert not checksums.is_intact(folder), file
                file.write_bytes(content)
        checksums.verify(folder)


def test_damaged_predictions_are_refused_by_the_report(finished, tmp_path):
    from harness.api.errors import UserError
    from harness.reporting import report

    results = shutil.copytree(finished[0].folder / "results" / "small", tmp_path / "small")
    report(results)
    table = next(results.glob("runs/*/predictions.parquet"))
    content = table.read_bytes()
    for seed in range(5):
        changed, draw = bytearray(content), random.Random(seed)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        table.write_bytes(changed)
        with pytest.raises(UserError, match=r"predictions\.parquet.*does not match its checksum.*run the suite again"):
            report(results)
