"""The code of docs/python.md and of the notebook works."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, NOTEBOOK = DOCS / "python.md", DOCS / "csv-to-onnx.ipynb"


def test_the_printed_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    namespace: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S):
        exec(compile(block, str(PAGE), "exec"), namespace)
    assert namespace["result"].successful
    assert "synthetic_sentiment finetune 1x32 seed 3" in capsys.readouterr().out
    assert len(namespace["results"].runs) == 4


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    namespace: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
    assert namespace["classify"]("The toaster is well made, and I would buy it again.") in ("negative", "positive")
    scores = namespace["results"].runs.score
    assert scores.min() > 0.6, "students learn something"
