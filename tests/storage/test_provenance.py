import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import harness
from harness.storage import provenance


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_hardware_of_this_machine():
    import torch

    hardware = provenance.hardware("cpu")
    assert hardware.device == "cpu"
    assert hardware.name.strip()
    assert hardware.threads == torch.get_num_threads()
    assert hardware.cores >= 1
    assert hardware.memory_bytes > 2**28


def test_the_processor_is_read_from_cpuinfo(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\nprocessor\t: 1\nmodel name\t: Another\n")
    assert provenance._cpuinfo(path) == "Some CPU @ 2: GHz"
    path.write_text("processor\t: 0\nBogoMIPS\t: 50\n")
    assert provenance._cpuinfo(path) is None
    assert provenance._cpuinfo(tmp_path / "none") is None


def test_packages_that_can_change_a_result_have_versions():
    versions = provenance.packages()
    assert versions["harness"] == harness.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "transformers", "tokenizers", "datasets", "evaluate", "numpy"} <= versions.keys()


def test_a_checkout_has_a_commit_and_a_dirty_flag(tmp_path):
    assert provenance.checkout(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    assert provenance.checkout(tmp_path) == (None, None), "no commit yet"
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "leaderboard.md").touch()
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "floor.md").touch()
    assert provenance.checkout(tmp_path) == (commit, False)
    (tmp_path / "code.py").write_text("x = 2\n")
    assert provenance.checkout(tmp_path) == (commit, True)


def test_now_is_utc():
    then = datetime.fromisoformat(provenance.now())
    assert then.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - then) < timedelta(minutes=1)


def test_importing_reporting_and_storage_is_cheap():
    code = (
        "import sys, harness.reporting, harness.storage.store, harness.storage.provenance;"
        "print([m for m in ('torch', 'pandas', 'datasets', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
