"""Writes latency.md from the stored measurements: a section for each machine and number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from harness.analysis.speed_up import batch_of, current, machine, milliseconds, numbered
from harness.api.wording import counted
from harness.reporting.latency.latency_facts import measurement_facts, procedure
from harness.storage.latency_records import InputShape, LatencyRecord, MeasuredModel, Preparation, Ratio, Timing

COLUMNS = ("batch", "tokens", "model", "n", "p50 (ms)", "IQR (ms)", "p90 (ms)", "p99 (ms)", "time ratio",
           "95 % interval", "speed-up")  # fmt: skip
"""Columns of a latency table; p99 is omitted if no timing has one."""


def markdown(title: str, records: Sequence[LatencyRecord]) -> str:
    """Return the text of latency.md: a section for each current measurement, a table for each of its backends."""
    measured = current(records)
    headings = numbered(machine(record.provenance.hardware) for record in measured)
    parts = [part for heading, record in zip(headings, measured, strict=True) for part in _section(heading, record)]
    return "\n\n".join([f"# {title}: latency", *parts]) + "\n"


def _section(heading: str, record: LatencyRecord) -> Iterator[str]:
    yield f"## {heading}"
    if marks := list(_marks(record)):
        yield _marked(marks)
    for backend in record.backends:
        yield f"### {backend}"
        if differing := _differing_controls(record, backend):
            yield _marked([_differs(record, differing, _controls(record, backend))])
        yield _table(record, backend)
    yield "### Models"
    yield _models(record)
    if any(preparation.deviation is not None for preparation in record.preparations):
        yield "### Backends"
        yield _backends(record)
    for heading, lines in (
        ("What was measured", measurement_facts(record)),
        ("How it was measured", procedure(record)),
    ):
        yield f"### {heading}"
        yield "\n".join(f"- {text}" for text in lines)


def _marked(marks: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{word}**: {text}" for word, text in marks)


def _marks(record: LatencyRecord) -> Iterator[tuple[str, str]]:
    """Yield the limitations of the tables, as (word, explanation)."""
    if backends := [backend for backend in record.backends if _differing_controls(record, backend)]:
        yield "A/A DIFFERS", f"two copies of one model differ significantly in {', '.join(backends)}: see there"
    if record.foreign:
        yield (
            "FOREIGN PROCESSES",
            f"other processes used the accelerator when the measurement began or ended: {', '.join(record.foreign)}. "
            "They may have slowed the models; ratios suffer less, because every round times all models",
        )
    if any(record.ratio(timing).low is None for timing in _controls(record)):
        yield "NO INTERVALS", "fewer than 6 rounds were timed; a difference without an interval is no evidence"
    if short := sorted({len(t.nanoseconds) for t in record.timings if len(t.nanoseconds) < record.settings.rounds}):
        yield (
            "CUT SHORT",
            f"the time limit of {record.settings.max_seconds:g} s was reached after {' or '.join(map(str, short))} of "
            f"{counted(record.settings.rounds, 'round')}",
        )
    if unsettled := [timing for timing in record.timings if not timing.settled]:
        cases = f"{len(unsettled)} of {len(record.timings)}"
        yield "NOT SETTLED", f"in {cases} cases the median was still changing when the warm-up ended (n is marked *)"


def _controls(record: LatencyRecord, backend: str | None = None) -> list[Timing]:
    """Return the timings of the A/A control, in one backend or in all."""
    control = next(model.name for model in record.models if model.role == "control")
    return [timing for timing in record.timings if timing.model == control and backend in (None, timing.backend)]


def _differing_controls(record: LatencyRecord, backend: str) -> list[Timing]:
    """Return the A/A timings whose interval excludes 1."""
    return [timing for timing in _controls(record, backend) if record.ratio(timing).excludes_one]


def _differs(record: LatencyRecord, differing: Sequence[Timing], controls: Sequence[Timing]) -> tuple[str, str]:
    model = next(model.of for model in record.models if model.role == "control")
    cases = "; ".join(f"{batch_of(timing.shape)}: {_ratio(record.ratio(timing))}" for timing in differing)
    return (
        "A/A DIFFERS",
        f"two copies of {model} differ significantly in {len(differing)} of {len(controls)} cases ({cases}); 1 in 20 "
        "is expected by chance. In these cases, differences between models as small as these are no evidence",
    )


def _table(record: LatencyRecord, backend: str) -> str:
    titles = [title for title in COLUMNS if title != "p99 (ms)" or any(timing.p99 for timing in record.timings)]
    rows: list[list[str]] = []
    for shape in record.shapes:
        if rows:
            rows.append([""] * len(titles))
        rows += [[cells[title] for title in titles] for cells in _cells(record, backend, shape)]
    return _aligned(rows, titles, left=("model",))


def _cells(record: LatencyRecord, backend: str, shape: InputShape) -> Iterator[dict[str, str]]:
    """Yield the rows of a shape: for each model, title -> cell."""
    for timing in record.at(backend, shape):
        model = _model(record, timing.model)
        ratio = record.ratio(timing)
        no_interval = ratio.low is None or timing.model == record.reference
        cells = (
            *map(str, shape),
            f"*{model.name}*" if timing.model == record.reference or model.of else model.name,
            f"{len(timing.nanoseconds)}{'' if timing.settled else '*'}",
            milliseconds(timing.percentile(0.5)),
            milliseconds(timing.iqr),
            "–" if timing.p90 is None else milliseconds(timing.p90),
            "–" if timing.p99 is None else milliseconds(timing.p99),
            f"{ratio.median:.3f}" + (f" to {model.of}" if model.of else ""),
            "–" if no_interval else f"[{ratio.low:.3f}, {ratio.high:.3f}]",
            "–" if model.of else f"{ratio.inverse.median:.2f}×",
        )
        yield dict(zip(COLUMNS, cells, strict=True))


def _models(record: LatencyRecord) -> str:
    """Return the table of model sizes, FLOPs per example and peak memory."""
    lengths = list(dict.fromkeys(length for _, length in record.shapes))
    size = record.settings.batch_sizes[0]
    rows = []
    for model in record.models:
        if model.of is None:
            flops = {t.length: t.flops for t in record.timings if (t.model, t.batch_size) == (model.name, size)}
            work = [f"{count / size / 1e9:.3g}" if (count := flops.get(length)) else "–" for length in lengths]
            rows.append([model.name, f"{model.parameters / 1e6:.3g}", *work, _megabytes(model)])
    titles = [
        f"GFLOPs, {counted(length, 'token')}" if isinstance(length, int) else f"GFLOPs, {length}" for length in lengths
    ]
    return _aligned(rows, ["model", "parameters (M)", *titles, "peak memory (MB)"], left=("model",))


def _megabytes(model: MeasuredModel) -> str:
    return "–" if model.peak_memory_bytes is None else f"{model.peak_memory_bytes / 1e6:.3g}"


def _backends(record: LatencyRecord) -> str:
    """Return the table of preparation times and of deviations from eager mode."""
    rows = [
        [
            prepared.backend,
            prepared.model,
            f"{prepared.seconds:.1f}",
            f"{prepared.deviation:.2g}",
            *_agreement(prepared),
        ]
        for prepared in record.preparations
        if prepared.deviation is not None
    ]
    titles = ["backend", "model", "prepared in (s)", "deviation", "agreement", "score, in eager"]
    if all(row[4:] == ["–", "–"] for row in rows):
        titles, rows = titles[:4], [row[:4] for row in rows]
    return _aligned(rows, titles, left=("backend", "model"))


def _agreement(prepared: Preparation) -> list[str]:
    agreement = "–" if prepared.agreement is None else f"{prepared.agreement:.3f} of {prepared.examples}"
    scored = prepared.score is not None and prepared.eager_score is not None
    return [agreement, f"{prepared.score:.4g}, {prepared.eager_score:.4g}" if scored else "–"]


def _aligned(rows: Sequence[Sequence[str]], titles: Sequence[str], left: Sequence[str]) -> str:
    align = ["left" if title in left else "right" for title in titles]
    return tabulate(rows, headers=titles, tablefmt="pipe", colalign=align, disable_numparse=True)


def _model(record: LatencyRecord, name: str) -> MeasuredModel:
    return next(model for model in record.models if model.name == name)


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
