import re
from pathlib import Path

import pandas as pd

from harness.reporting import report
from harness.storage.plan_file import EncoderShape
from harness.storage.store import Store
from tests.support.grid_factory import made, row
from tests.support.results_factory import fill, run_key, run_record

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def test_docs_snippet_runs(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results" / "quick"
    first = run_key("squad", "finetune", "big", 1)
    fill(folder, leave_out=[first])
    columns = {"id": ["q1"], "prediction": ["an answer"], "label": [["another"]], "split": ["validation"]}
    Store(folder).save(run_record("squad", "finetune", "big", 1, 70.0), pd.DataFrame(columns))
    report(folder)
    monkeypatch.chdir(tmp_path)
    [snippet] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(snippet, "docs/results.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "0.86" in printed, "the mean of sst2 kd big"
    assert "an answer" in printed
    assert isinstance(names["board"], pd.DataFrame)
    assert names["board"]["average_mean"].iloc[1] == 81.5


def test_docs_explain_every_column_of_the_csv(tmp_path):
    fill(tmp_path)
    columns = pd.read_csv(report(tmp_path).files[1]).columns
    plain = [name for name in columns if not name.startswith(("sst2_", "squad_"))]
    assert [name for name in plain if f"`{name}`" not in PAGE] == []


def test_docs_explain_the_columns_of_special_suites():
    """They are not in the file above: assistants, tuning, latency."""
    assert [name for name in ("assistant_seconds", "tuning_seconds", "speed_up_on") if f"`{name}`" not in PAGE] == []


def test_docs_explain_every_column_of_the_board(tmp_path):
    fill(tmp_path)
    titles = [column.title for column in report(tmp_path).board.columns]
    assert [
        t for t in titles if f"| {t} |" not in PAGE and t not in ("method", "student", "sst2 accuracy", "squad f1")
    ] == []


def test_docs_explain_every_column_of_the_sections(tmp_path):
    rows = {"kd": row(0, plain=True, a=1), "no-a": row(1, a=0), **{f"g-b={b}": row(2, method="g", b=b) for b in (1, 2)}}
    shapes = {
        name: EncoderShape(layers=6, hidden=768, heads=heads, ffn=3072)
        for name, heads in {"big": 12, "small": 3}.items()
    }
    scores = {(task, label, name): [0.5, 0.6] for task in ("sst2", "rte") for label in rows for name in shapes}
    made(tmp_path, rows, scores, shapes=shapes)
    files = {path.name: pd.read_csv(path) for path in report(tmp_path).files if path.parent.name == "sections"}
    assert set(files) == {"study.csv", "variants.csv", "heads.csv"}
    assert [name for name in files if f"`{name}`" not in PAGE and f"`sections/{name}`" not in PAGE] == []
    assert [column for frame in files.values() for column in frame.columns if f"`{column}`" not in PAGE] == []
    titles = [section.title for section in report(tmp_path).sections]
    assert all(any(title.startswith(known) for title in titles) for known in ("Study", "Variants", "Number of heads"))
    assert [known for known in ("Study", "Variants", "Number of heads") if f"| {known} |" not in PAGE] == []
