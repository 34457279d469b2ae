"""Laws of `harness validate` and `harness plan` over mutated suites: no traceback, and plan refuses nothing that
validate accepts."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.cli.plan_command import plan_suite
from harness.cli.validate_command import validate_suite
from harness.plugin_host.host import Host
from tests.conftest import PLUGIN
from tests.support import suite_fuzzer

CASES = int(os.environ.get("HARNESS_FUZZ_CASES", "300"))
"""Number of mutated suites. Try 10,000 after a change of the schema or the YAML parser."""

FIRST = int(os.environ.get("HARNESS_FUZZ_SEED", "0"))
"""Seed of the first case."""

PLANNED_SHARE = 3
"""One of so many valid suites is planned, too: it takes ten times as long."""

NEEDS_HUB = "not checked, because it needs the hub"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the suites, with a plugin and the files they name. The same plugins are loaded once."""
    (tmp_path / "order.py").write_text(PLUGIN, encoding="utf-8")
    for name, text in suite_fuzzer.INCLUDED.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hosts: dict[tuple[str, ...], Host] = {}
    create = Host.create

    def create_once(paths: tuple[str | Path, ...] = ()) -> Host:
        names = tuple(map(str, paths))
        if names not in hosts:
            hosts[names] = create(paths)
        return hosts[names]

    monkeypatch.setattr(Host, "create", staticmethod(create_once))
    return tmp_path


def outcome(command: Callable[[], None]) -> tuple[str, str]:
    """Return "ok" and the output, or "refused" and the error. Any other exception is a traceback for the user."""
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8")  # a strict encoding, as that of a terminal
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            command()
    except UserError as error:
        return "refused", str(error)
    printed.seek(0)
    return "ok", printed.read()


def check(seed: int, folder: Path, counts: Counter[str]) -> None:
    """Check both laws for one case, and count what was checked."""
    case = suite_fuzzer.case(seed)
    Path("suite.yaml").write_bytes(case.content)
    validated, output = outcome(lambda: validate_suite("suite.yaml", case.overrides, []))
    counts[validated] += 1
    if validated == "refused":
        assert output.strip(), "an error has a message"
    elif NEEDS_HUB not in output and counts["ok"] % PLANNED_SHARE == 0:
        counts["planned"] += 1
        as_json = bool(counts["planned"] % 2)
        planned, error = outcome(
            lambda: plan_suite("suite.yaml", case.overrides, [], folder / "results", as_json=as_json)
        )
        assert planned == "ok", f"validate accepts what plan refuses: {error}"


def check_all(seeds: range, folder: Path) -> Counter[str]:
    """Check all cases. A failure names the seed of every case that breaks a law."""
    counts, broken = Counter[str](), {}
    for seed in seeds:
        try:
            check(seed, folder, counts)
        except Exception as error:  # collected, so that one run shows all kinds of faults
            broken[seed] = f"{type(error).__name__}: {error}"
    assert not broken, "\n".join(f"suite_fuzzer.case({seed}): {error}" for seed, error in broken.items())
    return counts


def test_the_suite_is_valid_before_mutations(folder):
    Path("suite.yaml").write_bytes(suite_fuzzer.dump(suite_fuzzer.SUITE))
    assert outcome(lambda: validate_suite("suite.yaml", [], []))[0] == "ok"


def test_mutated_suites_raise_user_errors_only_and_plan_accepts_what_validate_accepts(folder):
    counts = check_all(range(FIRST, FIRST + CASES), folder)
    assert counts["refused"] > counts["ok"] > CASES / 20
    assert counts["planned"] > CASES / 100
