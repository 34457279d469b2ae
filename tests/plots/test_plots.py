"""Tests of the plots of a report: files, texts, placement, and matplotlib's settings."""

import math
import os
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.summary import Statistic
from harness.api.errors import UserError
from harness.api.events import LossPoint
from harness.plots import Plot, draw
from harness.plots.cost_axis import PARAMETERS
from harness.plots.label_placement import label_columns, place_points, spread_labels
from harness.plots.loss_curves import MAX_POINTS, curve
from harness.plots.pareto_figure import Point, Scatter
from harness.plots.plot_style import COLOURS, MARKERS, RowStyle, grid, shorten
from harness.reporting import report
from harness.reporting.formats import markdown
from harness.storage.plan_file import NotApplicable
from harness.storage.store import Store
from tests.support.error_scores import priced
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import GPU, SQUAD, SST2, fill, plan, run_key, run_record

NAMES = ["learning.png", "learning.svg", "pareto.png", "pareto.svg", "tasks.png", "tasks.svg"]


def losses(*totals, stage="distill", first=1):
    points = enumerate(totals, start=first)
    return [LossPoint(stage=stage, step=50 * step, lr=1e-4, terms={"loss": total, "kd": 1.0}) for step, total in points]


def logged(*seeds):
    return [LoggedLosses.of(points) for points in seeds]


def store_with_losses(folder, planned=None, **changes):
    """Return a store whose runs on big have logged losses."""
    planned = planned or plan()
    store = fill(folder, planned, **changes)
    for run in planned.runs:
        record = store.record(run.key)
        if run.student == "big" and record is not None:
            again = record.model_copy(update={"losses": losses(3.0, 2.0, 1.0 + run.seed)})
            (folder / "runs" / run.key / "record.json").unlink()
            store.save(again)
    return store


def plots(store) -> dict[str, Plot]:
    return {plot.name: plot for plot in draw(summarize(store))}


def texts(plot):
    """Return the texts of a plot, which the SVG has as comments."""
    svg = plot.files["svg"].decode()
    ET.fromstring(svg)
    return [text.strip() for text in re.findall(r"<!-- (.*?) -->", svg, flags=re.DOTALL)]


def plot_files(folder):
    return sorted(path.name for path in (folder / "plots").glob("*"))


def test_report_writes_and_shows_all_plots(tmp_path):
    store_with_losses(tmp_path, answered=True)
    written = report(tmp_path)
    assert plot_files(tmp_path) == NAMES
    assert {path.name for path in written.files if path.parent.name == "plots"} == set(NAMES)
    for name in ("pareto", "tasks", "learning"):
        assert f"](plots/{name}.png)](plots/{name}.svg)" in written.markdown
    assert (tmp_path / "plots" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "leaderboard.md").read_text() == written.markdown


def test_plots_are_reproducible(tmp_path):
    store_with_losses(tmp_path, answered=True)
    report(tmp_path)
    first = {name: (tmp_path / "plots" / name).read_bytes() for name in NAMES}
    report(tmp_path)
    again = {name: (tmp_path / "plots" / name).read_bytes() for name in NAMES}
    assert first == again
    drawn = f"from pathlib import Path\nfrom harness.reporting import report\nreport(Path({str(tmp_path)!r}))\n"
    subprocess.run([sys.executable, "-c", drawn], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert {name: (tmp_path / "plots" / name).read_bytes() for name in NAMES} == first, "in another process"


def test_stale_plots_are_removed(tmp_path):
    store = store_with_losses(tmp_path)
    report(tmp_path)
    (tmp_path / "plots" / "mine.txt").write_text("a file of somebody's own stays")
    for run in store.plan().runs:
        path = tmp_path / "runs" / run.key / "record.json"
        record = store.record(run.key)
        path.unlink()
        store.save(record.model_copy(update={"losses": []}))
    report(tmp_path)
    assert plot_files(tmp_path) == ["mine.txt", "pareto.png", "pareto.svg", "tasks.png", "tasks.svg"]


def test_refused_report_keeps_the_old_plots(tmp_path):
    store = store_with_losses(tmp_path)
    report(tmp_path)
    before = {name: (tmp_path / "plots" / name).read_bytes() for name in NAMES}
    key = run_key("sst2", "kd", "big", 1)
    (tmp_path / "runs" / key / "record.json").unlink()
    store.save(run_record("sst2", "kd", "big", 1, 0.1, data_fingerprint="other"))
    with pytest.raises(UserError, match="different examples"):
        report(tmp_path)
    assert {name: (tmp_path / "plots" / name).read_bytes() for name in NAMES} == before


def test_no_plots_without_results(tmp_path):
    Store(tmp_path).save_plan(plan())
    written = report(tmp_path)
    assert plot_files(tmp_path) == []
    assert "## Plots" not in written.markdown


def test_parameters_are_the_cost_without_latency(tmp_path):
    pareto = plots(fill(tmp_path))["pareto"]
    assert pareto.title == "demo: average score against parameters (latency was not measured)"
    assert pareto.title in texts(pareto)
    labels = {text.partition("  ")[0] for text in texts(pareto)}
    assert {"base", "kd (big)", "finetune (small)", "average score"} <= labels
    assert any("parameters" in text and "logarithmic" in text for text in texts(pareto))


def test_each_machine_has_a_plot_of_its_speed_ups(tmp_path):
    store = fill(tmp_path, plan(latency=SETTINGS))
    store.save_latency(latency_record("k1"))
    store.save_latency(latency_record("k2", hardware=GPU))
    drawn = plots(store)
    assert drawn["pareto"].title == "demo: average score against speed-up (cpu, Test CPU)"
    assert drawn["pareto-2"].title == "demo: average score against speed-up (cuda, Test GPU)"
    assert "speed-up over base (eager, batch 1 of 32 tokens; logarithmic)" in texts(drawn["pareto"])
    shown = [text.partition("  ")[0] for text in texts(drawn["pareto"])]
    assert "kd (small)" in shown
    assert "kd (big)" not in shown
    assert "Left out: kd big (not timed), finetune big (not timed)." in drawn["pareto"].caption
    assert {"1×", "2×", "3×"} <= set(shown)


@pytest.mark.parametrize("higher", [True, False])
def test_front_contains_the_points_that_no_other_dominates(higher):
    drawn = np.random.default_rng(5).integers(1, 6, size=(40, 2)).tolist()
    points = [Point(str(n), (cost, cost, cost), Statistic(score, None, 1), RowStyle("k", "o")) for n, (cost, score) in
              enumerate(drawn)]  # fmt: skip

    def beaten(cost, score):
        better = score.__le__ if higher else score.__ge__
        return any(c <= cost and better(s) and (c, s) != (cost, score) for c, s in drawn)

    expected = {str(n) for n, (cost, score) in enumerate(drawn) if not beaten(cost, score)}
    front = Scatter(points, PARAMETERS, higher).front
    assert {point.label for point in front} == expected
    assert [point.cost[0] for point in front] == sorted(point.cost[0] for point in front)


def test_rows_without_average_are_left_out_and_named(tmp_path):
    na = [NotApplicable(task="squad", label="kd", student="small", reason="heads")]
    store = fill(tmp_path, plan(na=na), leave_out=[run_key("sst2", "finetune", "big", 1)])
    drawn = plots(store)
    assert "Left out: finetune big (incomplete), kd small (not applicable)." in drawn["pareto"].caption
    assert not any(text.startswith(("finetune (big)", "kd (small)")) for text in texts(drawn["pareto"]))
    assert "Left out: finetune big (sst2: missing), kd small (squad: not applicable)." in drawn["tasks"].caption
    assert drawn["tasks"].caption in drawn["tasks"].alt


def test_one_seed_has_no_intervals_in_captions(tmp_path):
    drawn = plots(fill(tmp_path / "bare", plan(seeds=1)))
    assert {plot.marks for plot in drawn.values()} == {"PRELIMINARY"}
    assert all("PRELIMINARY" in texts(plot) and "(PRELIMINARY)" in plot.alt for plot in drawn.values())
    assert "There are no intervals: one seed is not enough." in drawn["pareto"].caption
    assert "interval" not in drawn["tasks"].alt
    answered = plots(fill(tmp_path / "answered", plan(seeds=1), answered=True))
    assert "± and bars (of the front): 95 % intervals, given this teacher." in answered["pareto"].caption
    assert "Intervals over the examples only, given this teacher." in answered["tasks"].caption
    assert "95 % intervals" in answered["tasks"].title


def test_a_skewed_interval_has_both_ends_in_the_pareto_plot(tmp_path):
    """As on the board: ± with the longer side would reach above 100."""
    summary = summarize(fill(tmp_path))
    students = tuple(replace(row, average=Statistic(99.4, 0.5, 3, 79.8, 99.9)) for row in summary.students)
    (pareto,) = [plot for plot in draw(replace(summary, students=students)) if plot.name == "pareto"]
    assert "kd (big)  99.4 [79.8, 99.9]" in texts(pareto)
    assert pareto.caption.startswith("± or brackets, and bars (of the front): 95 % intervals")


def test_the_forest_plot_names_intervals_that_cover_less(tmp_path):
    store = fill(tmp_path, plan((SST2,)), answered=True)
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet").unlink()
    caption = plots(store)["tasks"].caption
    assert (
        "Intervals over seeds and examples, given this teacher. Intervals of the row kd on big on sst2 cover" in caption
    )
    assert "(sst2-kd-big-2). A teacher with one seed: examples only." in caption


def test_every_task_and_row_is_in_the_forest_plot(tmp_path):
    tasks = plots(fill(tmp_path, answered=True))["tasks"]
    shown = texts(tasks)
    assert {"sst2 (accuracy)", "squad (f1)", "teachers", "base", "big", "small"} <= set(shown)
    first = shown[shown.index("teachers") : shown.index("squad (f1)")]
    assert [text for text in first if text in ("base", "big", "small", "kd", "finetune")] == [
        "base", "big", "kd", "finetune", "small", "kd", "finetune",
    ], "in the board's order"  # fmt: skip
    assert "Dashed: teacher base" in tasks.caption


def test_labels_are_not_parsed_as_formulas(tmp_path):
    planned = plan([SST2], seeds=1)
    odd = {"kd": "$a_b$ x^{2} --> <b>&", "finetune": r"\frac $"}
    runs = [run.model_copy(update={"label": odd[run.label]}) for run in planned.runs]
    store = fill(tmp_path, plan([SST2], seeds=1))
    store.save_plan(planned.model_copy(update={"runs": runs, "labels": list(odd.values()), "suite": "50 $ or $x$"}))
    drawn = plots(store)
    for name in ("pareto", "tasks"):
        assert any("$a_b$ x^{2}" in text for text in texts(drawn[name]))
        assert any(r"\frac $" in text for text in texts(drawn[name]))
    assert drawn["pareto"].title.startswith("50 $ or $x$: ")


def test_alt_texts_are_escaped(tmp_path):
    content = summarize(fill(tmp_path))
    from harness.reporting.board import build

    text = markdown(build(content), (), [Plot("pareto", "a ](b) *c* [d]", "BAD", "e", {})])
    assert r"[![a \](b) \*c\* \[d\] (BAD). e](plots/pareto.png)](plots/pareto.svg)" in text


def test_learning_curves_need_complete_cells(tmp_path):
    left = run_key("sst2", "kd", "big", 2)
    learning = plots(store_with_losses(tmp_path, leave_out=[left]))["learning"]
    shown = texts(learning)
    assert learning.title == "demo: training loss of big"
    assert {"sst2", "squad", "kd", "finetune"} <= set(shown)
    assert "Left out: kd big (on sst2)." in learning.caption


def test_each_student_has_its_own_learning_curves(tmp_path):
    store = store_with_losses(tmp_path)
    for run in store.plan().runs:
        if run.student == "small":
            record = store.record(run.key)
            (tmp_path / "runs" / run.key / "record.json").unlink()
            store.save(record.model_copy(update={"losses": losses(1.0, -0.5, math.nan)}))
    drawn = plots(store)
    assert drawn["learning"].title == "demo: training loss of big"
    assert drawn["learning-2"].title == "demo: training loss of small", "with losses that no logarithm takes"


def test_curve_is_the_mean_over_seeds_by_stage():
    one = [*losses(4.0, 2.0, stage="a"), *losses(8.0, stage="b", first=3)]
    two = [*losses(2.0, 1.0, stage="a"), *losses(6.0, stage="b", first=3)]
    first, second = curve(logged(one, two)).stages
    assert first.steps.tolist() == [50, 100]
    assert first.mean.tolist() == [3.0, 1.5]
    assert first.losses.tolist() == [[4.0, 2.0], [2.0, 1.0]]
    assert (second.steps.tolist(), second.mean.tolist()) == ([150], [7.0])
    assert [stage.steps.tolist() for stage in curve(logged(one, two[:1])).stages] == [[50]], "what all seeds tell of"
    assert curve(logged([], [])) is None
    assert curve([]) is None


def test_long_curve_is_averaged():
    totals = np.arange(1000, dtype=float) + 1
    [stage] = curve(logged(losses(*totals))).stages
    assert len(stage.steps) == MAX_POINTS
    parts = np.array_split(totals, MAX_POINTS)
    assert stage.losses[0].tolist() == pytest.approx([part.mean() for part in parts], rel=1e-12)
    assert stage.steps.tolist() == [50 * part[-1] for part in parts]


def test_labels_keep_the_gap_and_move_least():
    rng = np.random.default_rng(0)
    for _ in range(200):
        wanted = sorted(rng.uniform(0, 10, size=rng.integers(1, 12)).tolist())
        placed = spread_labels(wanted, 0.5, 0.0, 10.0)
        assert all(after - before > 0.5 - 1e-9 for before, after in pairwise(placed))
        assert placed[0] >= -1e-9
        assert placed[-1] <= 10 + 1e-9
        if all(after - before >= 0.5 for before, after in pairwise(wanted)):
            assert placed == pytest.approx(wanted)
    assert spread_labels([5.0, 5.0, 5.0], 1.0, 0.0, 10.0) == pytest.approx([4.0, 5.0, 6.0]), "to both sides"
    assert spread_labels([0.0, 0.0], 1.0, 0.0, 10.0) == pytest.approx([0.0, 1.0]), "within the axes"


def test_every_point_is_at_its_cost():
    costs = [(2.0, 1.9, 2.1), (1.0, 1.0, 1.0), (2.0, 1.9, 2.1)]
    (low, high), placed = place_points(costs, 8.0, 1.0)
    inch = (high - low) / 8.0
    assert [low + place.at * inch for place in placed] == pytest.approx([math.log10(2), 0.0, math.log10(2)])
    assert placed[0].group == placed[2].group != placed[1].group
    assert low < 0
    assert placed[2].end + 1.0 < 8.0, "its label has room"


def test_labels_share_a_column_if_they_do_not_fit():
    far = place_points([(1.0, 1.0, 1.0), (8.0, 8.0, 8.0)], 8.0, 1.0)[1]
    assert [members for _, members in label_columns(far, [1.0, 1.0])] == [[0], [1]]
    near = place_points([(1.0, 1.0, 1.0), (7.0, 7.0, 7.0), (8.0, 8.0, 8.0)], 8.0, 1.0)[1]
    assert [members for _, members in label_columns(near, [1.0] * 3)] == [[0], [1, 2]]


def test_rows_look_different():
    assert len({(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(42)}) == 42


@pytest.mark.parametrize(("panels", "shape"), [(1, (1, 1)), (4, (4, 1)), (5, (3, 2)), (8, (4, 2)), (9, (3, 3))])
def test_panel_grid(panels, shape):
    assert grid(panels) == shape


def test_long_label_is_shortened_in_the_middle():
    label = "tinybert-" + "option=value," * 10 + "last=3"
    assert len(shorten(label)) == 52
    assert shorten(label).startswith("tinybert-")
    assert shorten(label).endswith("last=3")
    assert shorten("kd") == "kd"


def test_matplotlib_settings_are_restored(tmp_path):
    with mpl.rc_context({"font.size": 23.0, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        strange = plots(fill(tmp_path))["pareto"]
        assert dict(mpl.rcParams) == before
    assert plots(Store(tmp_path))["pareto"].files == strange.files, "whatever a user has set"


def test_no_pareto_plot_without_an_average(tmp_path):
    less = SQUAD.model_copy(update={"higher_is_better": False})
    drawn = plots(fill(tmp_path, plan([SST2, less])))
    assert set(drawn) == {"tasks"}
    assert "Lower is better on squad." in drawn["tasks"].caption


def test_matplotlib_is_imported_only_for_drawing():
    check = "import sys, harness.reporting.report_files; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_docs_name_every_plot(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    assert [name for name in plots(store_with_losses(tmp_path)) if f"`plots/{name}`" not in page] == []


@pytest.mark.parametrize("totals", [[1.0], [2.0, 2.0], [math.nan] * 3, [1.0, math.inf], [1e30, 1e-30], [0.0, 0.0]])
def test_unusual_losses_are_drawn(tmp_path, totals):
    store = fill(tmp_path, plan([SST2], seeds=1))
    key = run_key("sst2", "kd", "big", 1)
    (tmp_path / "runs" / key / "record.json").unlink()
    store.save(run_record("sst2", "kd", "big", 1, losses=losses(*totals)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "step" in texts(plots(store)["learning"])


def test_errors_of_any_size_are_drawn(tmp_path):
    """An error has no greatest value: its interval is symmetric."""
    assert {plot.name for plot in draw(summarize(priced(tmp_path, 1000.0)))} == {"pareto", "tasks"}
