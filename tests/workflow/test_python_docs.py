"""The code of docs/python.md works."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_printed_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    namespace: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S):
        exec(compile(block, str(PAGE), "exec"), namespace)
    assert namespace["result"].successful
    assert "synthetic_sentiment finetune 1x32 seed 3" in capsys.readouterr().out
    assert len(namespace["results"].runs) == 4
