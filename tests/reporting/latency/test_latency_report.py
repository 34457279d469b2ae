"""Tests of latency.md, latency.csv and the speed-up columns of a board."""

import csv
import io
import re
from pathlib import Path

import pytest
from scipy.stats import binom

from harness.analysis.speed_up import csv_rows, current, milliseconds
from harness.api.errors import UserError
from harness.reporting import latency_report, report
from harness.reporting.latency.latency_tables import COLUMNS, markdown
from harness.storage.latency_records import MIN_CALLS_FOR_P99, Preparation, TaskLengths
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, TIMES, latency_record
from tests.support.results_factory import CPU, GPU, fill, plan, size

PAGE = (Path(__file__).parents[3] / "docs" / "latency.md").read_text(encoding="utf-8")
RESULTS = (Path(__file__).parents[3] / "docs" / "results.md").read_text(encoding="utf-8")


SIX_LAYERS = {"small": size("small").model_copy(update={"layers": 6})}
"""The demo suite's student with another shape."""


def row(text: str, *starts: str) -> list[str]:
    """Return the cells of the first table row that starts with these cells."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[: len(starts)] == list(starts):
            return cells
    raise AssertionError(f"no row {starts} in\n{text}")


def board(folder, *records, latency=SETTINGS):
    """Return the board of a completed suite with these measurements in its store."""
    store = fill(folder, plan(latency=latency))
    for record in records:
        store.save_latency(record)
    return report(folder)


def test_the_table(tmp_path):
    text = markdown("demo", [latency_record()])
    assert row(text, "1", "32", "*base*")[3:] == ["10", "8.00", "0.000", "8.00", "1.000", "–", "1.00×"]
    assert row(text, "8", "32", "small")[3:] == ["10", "16.0", "0.000", "16.0", "0.250", "[0.250, 0.250]", "4.00×"]
    assert row(text, "1", "32", "*small (second copy)*")[7:] == ["1.000 to small", "[1.000, 1.000]", "–"]
    for part in ("cpu, Test CPU, 2 cores, 2 threads", "float32", "2000 MHz before, 2100 MHz after", "head of sst2"):
        assert part in text
    assert "**" not in text, "nothing limits the claim"


@pytest.mark.parametrize("value", [0.5, 2.0])
def test_differing_control_is_marked_above_its_tables(value):
    times = TIMES | {"small (second copy)": int(2_000_000 * value)}
    text = markdown("demo", [latency_record(times=times)])
    mark, table = text.index("**A/A DIFFERS**: two copies of one model differ significantly in eager"), text.index("| ")
    assert mark < table
    assert "in 2 of 2 cases" in text
    assert f"batch 8 of 32 tokens: {value:.3f} [{value:.3f}, {value:.3f}]" in text


def test_other_limitations_are_marked():
    few = latency_record(rounds=3)
    few = few.model_copy(update={"timings": [t.model_copy(update={"settled": False}) for t in few.timings]})
    text = markdown("demo", [few])
    assert "**NO INTERVALS**" in text
    assert "reached after 3 of 10 rounds" in text
    assert "in 6 of 6 cases the median was still changing" in text
    assert row(text, "1", "32", "small")[3] == "3*"
    assert row(text, "1", "32", "small")[8] == "–"


def test_each_machine_has_its_own_section_and_column(tmp_path):
    fast = latency_record("k2", hardware=GPU, times={name: time // 100 for name, time in TIMES.items()})
    written = board(tmp_path, latency_record(), fast)
    text = (tmp_path / "latency.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+), (.*?),", text, flags=re.MULTILINE) == [("cpu", "Test CPU"), ("cuda", "Test GPU")]
    titles = [column.title for column in written.board.columns]
    assert [title for title in titles if "speed" in title] == ["speed-up cpu", "speed-up cuda"]
    assert row(text.partition("## cuda")[2], "1", "32", "*base*")[4] == "0.080"
    (first, *_) = csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text()))
    assert "Test CPU" in first["speed_up_on"]
    assert "Test GPU" in first["speed_up_2_on"]


def test_the_board_has_the_speed_up_of_one_named_shape(tmp_path):
    written = board(tmp_path, latency_record(not_measured={"big": "it has no completed run on sst2"}))
    index = [column.title for column in written.board.columns].index("speed-up cpu")
    cells = {line.group or line.cells[1]: line.cells[index] for line in written.board.lines}
    assert cells == {"base": "1.0×", "big": "–", "small": "4.0× [4.0, 4.0]"}
    assert "eager, batch 1 of 32 tokens, on cpu, Test CPU" in written.markdown
    assert "big was not measured: it has no completed run on sst2" in (tmp_path / "latency.md").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    small = [r for r in rows if r["student"] == "small"]
    assert {(r["speed_up"], r["speed_up_low"], r["speed_up_high"]) for r in small} == {("4.0", "4.0", "4.0")}


def test_board_reports_a_differing_control(tmp_path):
    times = TIMES | {"small (second copy)": 3_000_000}
    assert "the A/A control differs from 1 there (1.500)" in board(tmp_path, latency_record(times=times)).markdown


@pytest.mark.parametrize("latency", [None, SETTINGS.model_copy(update={"rounds": 20})], ids=["none", "others"])
def test_no_column_for_unplanned_measurements(tmp_path, latency):
    written = board(tmp_path, latency_record(), latency=latency)
    assert "speed" not in written.markdown.lower()
    assert "speed_up" not in (tmp_path / "leaderboard.csv").read_text()
    assert (tmp_path / "latency.md").exists(), "measurements are reported all the same"


def test_without_measurements_there_are_no_tables(tmp_path):
    fill(tmp_path, plan())
    assert not any("latency" in path.name for path in report(tmp_path).files)
    assert latency_report(tmp_path) == ()


def test_tables_are_removed_with_their_measurements(tmp_path):
    Store(tmp_path).save_latency(latency_record())
    assert [path.name for path in latency_report(tmp_path)] == ["latency.md", "latency.csv"]
    (tmp_path / "latency" / "k1.json").unlink()
    assert latency_report(tmp_path) == ()
    assert not list(tmp_path.glob("latency.*"))


def test_newest_measurement_of_a_machine_is_current():
    old, new = latency_record("k1"), latency_record("k2", ended="2026-02-01T00:00:00+00:00")
    elsewhere = latency_record("k3", hardware=CPU.model_copy(update={"threads": 1}))
    assert [record.key for record in current([old, elsewhere, new])] == ["k3", "k2"]


def test_measurement_of_other_models_replaces_none():
    four, six = latency_record("four"), latency_record("six", sizes=SIX_LAYERS)
    assert [record.key for record in current([four, six])] == ["four", "six"]
    again = latency_record("again")
    assert [record.key for record in current([four, six, again])] == ["six", "again"]
    of_squad = latency_record("squad", task="squad")
    assert [record.key for record in current([four, of_squad])] == ["four", "squad"]
    text = markdown("demo", [four, six])
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "cpu, Test CPU, 2 cores, 2 threads",
        "cpu, Test CPU, 2 cores, 2 threads (2)",
    ]


def test_measurement_with_an_additional_model_replaces_the_old():
    """A student was added to the suite."""
    more = latency_record("more", times={"base": 8_000_000, "big": 4_000_000, **TIMES})
    assert [record.key for record in current([latency_record("few"), more])] == ["more"]
    assert [record.key for record in current([more, latency_record("few")])] == ["more", "few"]


def test_board_ignores_times_of_another_architecture(tmp_path):
    """Student small had four layers, then six, and has four again; another machine measured only six layers."""
    six = latency_record("six", sizes=SIX_LAYERS, times=TIMES | {"small": 1_000_000}, ended="2026-02-01")
    elsewhere = latency_record("elsewhere", hardware=GPU, sizes=SIX_LAYERS, ended="2026-03-01")

    def shown(written):
        return {
            column.title: {line.cells[1]: line.cells[index] for line in written.board.lines if line.group != "big"}
            for index, column in enumerate(written.board.columns)
            if "speed-up" in column.title
        }

    of_none = {"base": "1.0×", "finetune": "–", "kd": "–"}
    assert shown(board(tmp_path / "one", six)) == {"speed-up cpu": of_none}
    four = of_none | dict.fromkeys(["finetune", "kd"], "4.0× [4.0, 4.0]")
    titles = shown(board(tmp_path / "two", latency_record("four"), six, elsewhere))
    assert titles == {"speed-up cpu": four, "speed-up cuda": of_none}


def test_speed_ups_over_another_teacher_are_ignored(tmp_path):
    larger = {"base": size("base").model_copy(update={"hidden": 1024})}
    assert "speed-up" not in board(tmp_path, latency_record(sizes=larger)).markdown.lower()


def more(hardware, **changes):
    return hardware.model_copy(update=changes)


@pytest.mark.parametrize(
    ("one", "other", "machines"),
    [
        (CPU, more(CPU, memory_bytes=CPU.memory_bytes - 4096), 1),
        (CPU, more(CPU, cores=8), 2),
        (CPU, more(CPU, name="Another CPU"), 2),
        (GPU, more(GPU, cores=4, threads=4, memory_bytes=1), 1),
        (GPU, more(GPU, name="Another GPU"), 2),
    ],
)
def test_machines_are_distinguished_by_hardware_and_threads(tmp_path, one, other, machines):
    records = [latency_record("a", hardware=one), latency_record("b", hardware=other, ended="2026-02-01")]
    assert [record.key for record in current(records)] == ["a", "b"][-machines:]
    titles = [column.title for column in board(tmp_path, *records).board.columns]
    assert len([title for title in titles if title.startswith("speed-up")]) == machines


def test_requested_threads_distinguish_accelerator_measurements():
    settings = SETTINGS.model_copy(update={"threads": [1, 8]})
    records = [latency_record("a", hardware=more(GPU, threads=1), settings=settings)]
    records.append(latency_record("b", hardware=GPU, settings=settings))
    assert len(current(records)) == 2


def test_two_machines_of_one_kind_have_distinct_labels(tmp_path):
    written = board(tmp_path, latency_record("a"), latency_record("b", hardware=more(CPU, name="Another CPU")))
    titles = [column.title for column in written.board.columns]
    assert [title for title in titles if "speed-up" in title] == ["speed-up cpu", "speed-up cpu (2)"]
    first, second = (text for text in written.board.reading if text.startswith("Speed-up"))
    assert first.startswith("Speed-up, cpu: ")
    assert "Test CPU" in first
    assert second.startswith("Speed-up, cpu (2): ")
    assert "Another CPU" in second


def test_latency_report_depends_on_the_store_only(tmp_path):
    records = [latency_record("a"), latency_record("b", hardware=GPU), latency_record("c", ended="2026-02-01")]
    contents = []
    for name, order in (("one", records), ("two", records[::-1])):
        board(tmp_path / name, *order)
        report(tmp_path / name)
        files = ("latency.md", "latency.csv", "leaderboard.md", "leaderboard.csv")
        contents.append([(tmp_path / name / file).read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_csv_has_every_time_of_the_tables(tmp_path):
    board(tmp_path, latency_record())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "latency.csv").read_text())))
    assert len(rows) == 6
    small = next(r for r in rows if (r["model"], r["batch_size"]) == ("small", "8"))
    assert (float(small["p50"]), float(small["ratio"]), small["ratio_to"], small["n"]) == (0.016, 0.25, "base", "10")
    assert [name for name in rows[0] if f"`{name}`" not in RESULTS] == []


def test_measurement_under_another_key_is_refused(tmp_path):
    store = Store(tmp_path)
    store.save_latency(latency_record("k1"))
    (tmp_path / "latency" / "k1.json").rename(tmp_path / "latency" / "k2.json")
    with pytest.raises(UserError, match="has key k1, expected "):
        store.latencies()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000634, "0.063"), (0.00234, "2.34"), (0.0234, "23.4"), (0.234, "234"), (2.34, "2340")]
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_docs_snippet_runs(tmp_path, monkeypatch, capsys):
    Store(tmp_path / "results" / "quick").save_latency(latency_record())
    monkeypatch.chdir(tmp_path)
    [snippet] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(snippet, "docs/latency.md", "exec"), {})
    assert "small eager (8, 32) 0.016 Ratio(median=0.25" in capsys.readouterr().out


def test_docs_explain_every_column(tmp_path):
    explained = set(re.findall(r"\w[\w %-]*", "\n".join(re.findall(r"^\| ([^|]*) \|", PAGE, flags=re.MULTILINE))))
    plain = {column.removesuffix(" (ms)") for column in COLUMNS}
    assert plain - explained == {"batch", "tokens", "model"}


def test_p99_needs_662_rounds():
    """The fewest rounds of which two or more exceed the true percentile with 99 % probability, by the binomial."""
    assert binom.sf(1, MIN_CALLS_FOR_P99, 0.01) >= 0.99 > binom.sf(1, MIN_CALLS_FOR_P99 - 1, 0.01)
    assert binom.pmf(0, 368, 0.01) <= 0.025 < binom.pmf(0, 367, 0.01), "the first interval of 95 %"
    for rounds in (MIN_CALLS_FOR_P99 - 1, MIN_CALLS_FOR_P99):
        record = latency_record(rounds=rounds)
        times = [
            t.model_copy(update={"nanoseconds": [10**6 * n for n in range(1, rounds + 1)]}) for t in record.timings
        ]
        record = record.model_copy(update={"timings": times})
        text = markdown("demo", [record])
        if rounds < MIN_CALLS_FOR_P99:
            assert "p99" not in text
            assert {row["p99"] for row in csv_rows([record])} == {None}
        else:
            assert row(text, "1", "32", "small")[7] == "655"
            assert csv_rows([record])[0]["p99"] == pytest.approx(0.65539)
            assert csv_rows([record])[0]["iqr"] == pytest.approx(0.3305)


def test_thread_counts_have_sections_and_the_board_uses_the_largest(tmp_path):
    one = CPU.model_copy(update={"threads": 1})
    off = TIMES | {"small (second copy)": 3_000_000}
    records = [latency_record("a"), latency_record("b", hardware=one, times=off, ended="2026-02-01")]
    written = board(tmp_path, *records)
    text = (tmp_path / "latency.md").read_text(encoding="utf-8")
    assert re.findall(r"^## cpu.* (\d) threads?$", text, flags=re.MULTILINE) == ["2", "1"]
    two_threads, one_thread = text.split("\n## ")[1:]
    assert "A/A DIFFERS" in one_thread
    assert "A/A DIFFERS" not in two_threads
    assert [column.title for column in written.board.columns].count("speed-up cpu") == 1
    assert "2 cores, 2 threads" in (tmp_path / "leaderboard.csv").read_text()
    assert "2 cores, 1 thread" not in (tmp_path / "leaderboard.csv").read_text()


def test_differing_control_marks_its_backend_only():
    both = SETTINGS.model_copy(update={"backends": ["eager", "onnx"]})
    record = latency_record(settings=both)
    wrong = [
        t.model_copy(update={"nanoseconds": [3_000_000] * 10})
        if (t.backend, t.model) == ("onnx", "small (second copy)")
        else t
        for t in record.timings
    ]
    text = markdown("demo", [record.model_copy(update={"timings": wrong})])
    assert "- **A/A DIFFERS**: two copies of one model differ significantly in onnx" in text.partition("### eager")[0]
    eager, onnx = text.partition("### eager")[2].split("### onnx")
    assert "A/A DIFFERS" not in eager
    assert onnx.index("A/A DIFFERS") < onnx.index("| ")


def test_foreign_processes_mark_the_section():
    record = latency_record(hardware=GPU, foreign=["render (77)"], temperatures={"accelerator": [40.0, 61.0]})
    text = markdown("demo", [record])
    assert text.index("**FOREIGN PROCESSES**") < text.index("### eager")
    assert "render (77)" in text
    assert "Temperature, accelerator: 40 °C before, 61 °C after" in text


def test_model_sizes_flops_memory_and_backend_deviations():
    preparations = [
        Preparation(model="small", backend="eager", seconds=0.1),
        Preparation(
            model="small", backend="onnx-int8", seconds=4.25, deviation=0.031, agreement=0.98, examples=256,
            score=0.84, eager_score=0.85,
        ),
    ]  # fmt: skip
    record = latency_record(preparations=preparations, memory_shape=(8, 32))
    timings = [t.model_copy(update={"flops": 3 * 10**9 * t.batch_size}) for t in record.timings]
    models = [m.model_copy(update={"peak_memory_bytes": 123_000_000}) for m in record.models]
    record = record.model_copy(update={"timings": timings, "models": models})
    text = markdown("demo", [record])
    assert row(text, "small", "10") == ["small", "10", "3", "123"]
    assert row(text, "onnx-int8") == ["onnx-int8", "small", "4.2", "0.031", "0.980 of 256", "0.84, 0.85"]
    assert "at batch 8 of 32 tokens, measured in a separate process, minus that of the process with its" in text
    on_gpu = markdown("demo", [latency_record(hardware=GPU, memory_shape=(8, 32))])
    assert "measured in a separate process, allocated by torch on the device." in on_gpu
    csv_row = next(r for r in csv_rows([record]) if (r["model"], r["batch_size"]) == ("small", 8))
    assert (csv_row["flops"], csv_row["peak_memory_bytes"]) == (24 * 10**9, 123_000_000)


def test_task_lengths_are_a_separate_shape(tmp_path):
    settings = SETTINGS.model_copy(update={"lengths": [32, "task"]})
    lengths = TaskLengths(examples=872, mean=25.2, median=24, p90=41, longest=55)
    record = latency_record(settings=settings, lengths=lengths)
    assert record.shapes == [(1, 32), (1, "task"), (8, 32), (8, "task")]
    text = markdown("demo", [record])
    assert row(text, "8", "task", "small")[4] == "16.0"
    assert "872 validation examples of sst2" in text
    written = board(tmp_path, record, latency=settings)
    assert "eager, batch 1 of 32 tokens" in written.markdown, "the longest length that is a number"
    alone = settings.model_copy(update={"lengths": ["task"]})
    written = board(tmp_path / "alone", latency_record(settings=alone, lengths=lengths), latency=alone)
    assert "eager, batch 1 of the task's lengths" in written.markdown


def test_measurement_of_the_first_version_is_read(tmp_path):
    """Records of the first version have no preparations, no memory, and one number of threads."""
    import json

    content = json.loads(latency_record().model_dump_json())
    for name in ("preparations", "lengths", "memory_shape", "temperatures", "foreign"):
        del content[name]
    del content["settings"]["memory"]
    for timing in content["timings"]:
        del timing["flops"]
    for model in content["models"]:
        del model["peak_memory_bytes"]
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "k1.json").write_text(json.dumps(content))
    written = board(tmp_path)
    assert "speed-up cpu" in [column.title for column in written.board.columns]
    assert row((tmp_path / "latency.md").read_text(), "small", "10")[2:] == ["–", "–"]
