"""Tests of index.html: the board's numbers, the Content-Security-Policy, escaping, and the size limit."""

import base64
import hashlib
import json
import re
import subprocess
import sys

import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.score_format import signed_interval
from harness.analysis.summary import BoardRow, Statistic
from harness.analysis.task_predictions import EXAMPLES_PER_RUN
from harness.api.events import LossPoint
from harness.plots import pareto_figure
from harness.plots.cost_axis import PARAMETERS, costs
from harness.reporting import report
from harness.reporting.formatting import probability
from harness.reporting.page import tradeoff_chart
from harness.reporting.page.run_details import curve
from harness.reporting.page.tradeoff_chart import ChartArea, TradeoffPoint
from harness.storage.plan_file import NotApplicable
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.page_factory import HOSTILE, losses, made, page_runs, read_details
from tests.support.patience import PATIENCE
from tests.support.results_factory import fill, plan, run_key, run_record


def page_of(folder):
    report(folder)
    return (folder / "index.html").read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_page_contains_the_strings_of_the_board(tmp_path):
    made(tmp_path)
    written = report(tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert tmp_path / "index.html" in written.files
    rows = re.findall(r"<tr[^>]* id=\"row-\d+\".*?</tr>", page, re.S)
    plain = [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.S)] for row in rows]
    assert plain == [list(line.cells) for line in written.board.lines]
    for _, text in (*written.board.marks, *written.board.footnotes):
        assert text.replace("`", "") in re.sub(r"</?code>", "", page)


def test_page_is_reproducible(tmp_path):
    made(tmp_path / "a")
    made(tmp_path / "b")
    assert page_of(tmp_path / "a") == page_of(tmp_path / "b") == page_of(tmp_path / "a")


def test_content_security_policy_blocks_everything_else(tmp_path):
    made(tmp_path, text=HOSTILE)
    page = page_of(tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#x27;none&#x27;;")
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)
    assert "strict-dynamic" in policy, "scripts in details/ are loaded by the page's script"
    for tag in ("style", 'script type="module"'):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", page, re.S)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r"<[^>]*\s(style|on\w+)=", page.partition("<script")[0])
    markup = page.partition('<script type="module"')[0]
    assert not re.search(r"<[^>]*\s(src|href)=\"(?!#|data:,)", re.sub(r'<a href="https://[^"]*">', "", markup))


def test_hostile_names_and_texts_are_escaped(tmp_path):
    made(tmp_path, text=HOSTILE)
    page = page_of(tmp_path)
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "<!--" not in page
    texts = [text for run in page_runs(tmp_path).values() for entry in run["texts"] for text in entry.values()]
    assert texts
    assert all(HOSTILE in text for text in texts)
    for path in (tmp_path / "details").iterdir():
        assert not re.search("[<>&\n]", path.read_text(encoding="utf-8").removesuffix("\n"))


def test_hostile_label_is_escaped_everywhere(tmp_path):
    label = "<img src=x>"
    planned = plan()
    runs = [run.model_copy(update={"label": label if run.label == "kd" else run.label}) for run in planned.runs]
    cell = NotApplicable(task="sst2", label="<i>", student="big", reason="<u>")
    planned = planned.model_copy(update={"runs": runs, "labels": ["finetune", label, "<i>"], "not_applicable": [cell]})
    fill(tmp_path, leave_out=[run.key for run in runs])
    store = Store(tmp_path)
    store.save_plan(planned)
    for run in runs:
        score = 0.8 if run.task == "sst2" else 70.0
        store.save(run_record(run.task, run.label, run.student, run.seed, score, key=run.key, method="kd", teachers=[]))
    page = page_of(tmp_path)
    assert "&lt;img src=x&gt;" in page
    assert not re.search(r"<(img|i|u)\b", page)


def test_errors_of_a_run_include_teacher_answers(tmp_path):
    made(tmp_path)
    report(tmp_path)
    runs = page_runs(tmp_path)
    run = runs[run_key("sst2", "kd", "big", 1)]
    errors = run["errors"]
    assert (errors["examples"], errors["wrong"], errors["teacher"], errors["own"]) == (100, 15, "base", True)
    assert errors["classes"] == ["bad", "good"]
    assert sum(map(sum, errors["confusion"])) == 100
    first = errors["shown"][0]
    assert run["texts"][first["text"]]["text"] == f"sentence {first['id']} "
    assert run["score"] == "85.0"
    assert run["record"]["cost"]["student_seconds"] == 60
    without = runs[run_key("sst2", "finetune", "big", 1)]["errors"]
    assert (without["teacher"], without["own"]) == ("base", False)


def test_shared_run_has_an_id_for_each_row(tmp_path):
    made(tmp_path)
    store = Store(tmp_path)
    planned = store.plan()
    twins = [run.model_copy(update={"label": "twin"}) for run in planned.runs if run.label == "kd"]
    runs = [*planned.runs, *twins]
    store.save_plan(planned.model_copy(update={"runs": runs, "labels": [*planned.labels, "twin"]}))
    page = page_of(tmp_path)
    data, runs = data_of(page), page_runs(tmp_path)
    body = re.search(r'<tbody class="student">(.*?)</tbody>', page, re.S)[1]
    for place, row in re.findall(r'<tr id="row-(\d+)"(.*?)</tr>', body, re.S):
        led_to = [runs[id] for id in re.findall(r'data-run="([^"]*)"', row)]
        assert {run["row"] for run in led_to} == {int(place)}
        assert {run["task"] for run in led_to} == {"sst2", "squad"}
    curves = {data["rows"][run["row"]]["label"] for run in runs.values() if run["curve"]["steps"]}
    assert curves == {"base", "finetune", "kd", "twin"}
    key = run_key("sst2", "kd", "big", 1)
    assert [run["record"]["key"] for id, run in runs.items() if id.split(".")[0] == key] == [key, key]


def test_missing_texts_and_predictions_are_reported(tmp_path):
    made(tmp_path, with_texts=False)
    report(tmp_path)
    runs = page_runs(tmp_path)
    assert runs[run_key("sst2", "kd", "big", 1)]["errors"]["shown"][0]["text"] is None
    broken = runs[run_key("squad", "kd", "small", 3)]
    assert "failed" in broken["why"]
    assert broken["record"]["error"] == "RuntimeError: out of memory"
    fill(tmp_path / "old")
    report(tmp_path / "old")
    assert all("predictions.parquet is missing" in run["why"] for run in page_runs(tmp_path / "old").values())


def test_page_of_an_empty_board(tmp_path):
    planned = plan()
    fill(tmp_path, planned, leave_out=[run.key for run in planned.runs])
    for path in (tmp_path / "teachers").glob("*/*"):
        path.unlink()
    page = page_of(tmp_path)
    assert "Nothing is complete yet." in page
    assert data_of(page)["cells"] == []
    assert not (tmp_path / "details").exists()


def test_details_of_runs_are_not_in_the_page(tmp_path):
    """120 runs with the maximum number and length of texts."""
    made(tmp_path, text="long words and more " * 200, seeds=15, examples=400)
    page = page_of(tmp_path)
    runs = page_runs(tmp_path)
    assert len(runs) == 122
    assert max(len(run["errors"]["shown"]) for run in runs.values() if "errors" in run) == EXAMPLES_PER_RUN
    assert "sentence 1 long words" not in page
    assert len(page.encode()) < 150_000


def test_details_that_the_page_does_not_load_are_removed(tmp_path):
    store = made(tmp_path)
    report(tmp_path)
    details = set((tmp_path / "details").iterdir())
    mine = tmp_path / "details" / "mine.js"
    mine.write_text("a file of somebody's own stays")
    planned = store.plan()
    store.save_plan(planned.model_copy(update={"runs": [r for r in planned.runs if r.label == "kd"], "labels": ["kd"]}))
    report(tmp_path)
    left = set((tmp_path / "details").iterdir())
    assert left - details == {mine}
    assert len(details - left) == 4 + 2, "the cells and the rows of finetune"


def test_details_that_did_not_change_are_not_written_again(tmp_path):
    made(tmp_path)
    report(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "details").iterdir()}
    first = next(iter(before))
    first.write_text("changed")
    report(tmp_path)
    assert {path for path, time in before.items() if path.stat().st_mtime_ns != time} == {first}
    assert read_details(first)


def test_curve_is_subsampled_and_keeps_the_last_point():
    points = LoggedLosses.of(losses(0, steps=1000))
    thin = curve(points, 100)
    assert len(thin["steps"]) == 100
    assert thin["steps"][-1] == 10_000
    assert thin["stages"] == [("distill", 5000), ("finetune", 10_000)]
    assert list(thin["terms"]) == ["loss", "kd", "lr"]
    assert curve(LoggedLosses.of([]), 10)["steps"] == []
    assert len(curve(points, 7)["steps"]) <= 8


def test_terms_of_some_points_only_have_gaps():
    points = [
        LossPoint(stage="s", step=step, lr=0.1, terms={"loss": 1.0, **({"late": 2.0} if step > 2 else {})})
        for step in (1, 2, 3)
    ]
    assert curve(LoggedLosses.of(points), 10)["terms"]["late"] == [None, None, 2.0]


def test_non_finite_losses_are_gaps():
    point = LossPoint(stage="s", step=1, lr=0.1, terms={"loss": float("nan")})
    assert curve(LoggedLosses.of([point]), 10)["terms"] == {"loss": [None], "lr": [0.1]}


@pytest.mark.parametrize(("higher", "front"), [(True, ["small", "middle", "twin", "large"]), (False, ["small"])])
def test_front_contains_the_points_that_no_other_dominates(higher, front):
    coordinates = {
        "large": (9.0, 90.0),
        "middle": (5.0, 80.0),
        "worse": (6.0, 80.0),
        "small": (1.0, 60.0),
        "none": (5.0, 70.0),
        "twin": (5.0, 80.0),
    }
    points = [
        TradeoffPoint(place, BoardRow("student", name, "", {}, 1, 1), name, (x, x, x), Statistic(y, None, 1), "")
        for place, (name, (x, y)) in enumerate(coordinates.items())
    ]
    assert [point.name for point in ChartArea(PARAMETERS, higher, points).front()] == front


def test_front_is_that_of_the_figure(tmp_path):
    fill(tmp_path, plan(latency=SETTINGS)).save_latency(latency_record())
    summary = summarize(Store(tmp_path))
    (sheet,) = [pareto_figure._scatter(summary, cost)[0] for cost in costs(summary)]
    (area,) = [tradeoff_chart._plot(summary, cost) for cost in costs(summary)]
    assert [point.row.name for point in area.front()] == [point.row.name for point in sheet.front]
    assert len(area.front()) == 2, "the teacher and kd on small"
    line = re.search(r'<polyline points="([^"]*)"', page_of(tmp_path))[1].split()
    assert len(line) == 1 + 2 * 2, "a step for each point"


def test_rows_of_a_size_are_drawn_at_its_speed_up_and_none_is_beyond_the_front(tmp_path):
    measured = latency_record()
    for timing in measured.timings:
        if timing.model == "small":
            timing.nanoseconds[:] = [nanoseconds + 50_000 * turn for turn, nanoseconds in enumerate(timing.nanoseconds)]
    fill(tmp_path, plan(latency=SETTINGS)).save_latency(measured)
    page = page_of(tmp_path)
    chart = re.search(r'<svg[^>]*class="chart".*?</svg>', page, re.S)[0]
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', chart)]
    assert len(dots) == 2, "the rows on small"
    (across,) = {*dots}
    line = re.search(r'<polyline points="([^"]*)"', chart)[1].split()
    assert across == pytest.approx(max(float(corner.split(",")[0]) for corner in line), abs=0.01)
    ((left, width),) = re.findall(r'<rect x="([\d.]+)" y="16" width="([\d.]+)"', chart)
    assert float(left) < across < float(left) + float(width), "the interval of its speed-up"
    assert "Shaded: the interval of a size" in page


def test_a_difference_says_if_it_covers_the_examples_alone(tmp_path):
    """As with one seed."""
    made(tmp_path, seeds=1)
    data = data_of(page_of(tmp_path))
    (name,) = (row["compare"] for row in data["rows"] if (row["label"], row["student"]) == ("kd", "big"))
    details = read_details(tmp_path / "details" / f"{name}.js")
    for *_, over in details["differences"]["sst2"].values():
        assert over == "over examples only"


def test_page_says_when_and_with_which_version(tmp_path):
    fill(tmp_path)
    page = page_of(tmp_path)
    assert '<time datetime="2026-01-01">2026-01-01</time>' in page
    assert "<span>kd-harness 0.1.0</span>" in page
    assert '<a href="#about">How to read it</a>' in page


def test_files_of_rows_have_their_differences_and_answers(tmp_path):
    made(tmp_path)
    data = data_of(page_of(tmp_path))
    summary = summarize(Store(tmp_path))
    rows = {(row["label"], row["student"]): (place, row["compare"]) for place, row in enumerate(data["rows"])}
    kd, name = rows["kd", "big"]
    finetune, other = rows["finetune", "big"]
    own, its = (read_details(tmp_path / "details" / f"{file}.js") for file in (name, other))
    text, mean, low, high, p, over = own["differences"]["sst2"][str(finetune)]
    on_task = summary.differences.of(["sst2"], ("student", "kd", "big"), ("student", "finetune", "big"))
    assert (low, high) == pytest.approx((on_task.low, on_task.high), abs=1e-3)
    assert over == ""
    assert text == f"+4.0 [{low:+.1f}, {high:+.1f}]"
    assert (mean, p) == (4.0, None)
    assert its["differences"]["sst2"][str(kd)][1:4] == [-mean, -high, -low]
    (pair,) = [pair for pair in summary.comparisons if pair.student == "big"]
    average = own["differences"][""][str(finetune)]
    assert average[0] == signed_interval(-pair.difference.mean, -pair.difference.high, -pair.difference.low)
    assert average[4] == probability(pair.p), "that of the board"
    better, worse, indices = own["contrasts"]["sst2"][str(finetune)]
    assert its["contrasts"]["sst2"][str(kd)][:2] == [worse, better]
    examples = read_details(tmp_path / "details" / f"{data['tasks']['sst2']['examples']}.js")
    assert examples["scored"] == 100
    for index in indices[: min(better, 10)]:
        assert own["answers"]["sst2"][index][1] > its["answers"]["sst2"][index][1]
        assert examples["examples"][index]["texts"]["text"].startswith("sentence ")
    assert "squad" not in read_details(tmp_path / "details" / f"{rows['kd', 'small'][1]}.js")["answers"], "a run failed"


def test_report_does_not_import_torch(tmp_path):
    made(tmp_path)
    script = (
        "import sys; from pathlib import Path; from harness.reporting import report; "
        f"report(Path({str(tmp_path)!r})); assert not set(sys.modules) & {{'torch', 'transformers', 'datasets'}}"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)
