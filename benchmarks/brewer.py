"""Benchmark `textbrewer`: TextBrewer's GeneralDistiller, run by run, against one cohort of the same runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import device_usage
from benchmarks.alone import Parts
from benchmarks.device_usage import Usage
from benchmarks.matched import Matched
from benchmarks.measuring import Contestant, Measured, Row, Target, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.peer import Fields, adapted, distillation, fields
from benchmarks.workload import Entry, Workload, fixed_length_data, sst2_data
from harness.api.errors import UserError
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of TextBrewer's GeneralDistiller, one run after another, divided by the time of one cohort of the same runs:"
    " the same models, random batches, losses, optimizer and dtype. Before anything is timed, all losses of the first"
    " two steps are checked to be equal. On SST-2 the cohort computes each batch in groups of similar length, weighted"
    " by examples, not tokens. The bound is R (T + S) / (T + R S) for R runs, with the measured times T of a teacher"
    " pass and S of a student step."
)
OF_BOUND = 0.9
TOLERANCE = 1e-4
CHECK: dict[str, Any] = {
    "dropout": 0.0,
    "max_grad_norm": None,
    "weight_decay": 0.0,
    "log_every": 1,
    "precision": "fp32",
    "batching": "random",
}
"""Settings under which losses are equal: no dropout, because each side draws its own, and float32."""
CHECKED = 2
"""Number of steps whose losses are compared. The second one depends on the first update."""

EQUAL = "examples of one length"
FIXED = "padded to {length} / grouped"
"""Settings: how TextBrewer pads its batches, and how the cohort batches."""
LONGEST = "padded to the longest of the batch / grouped"
LEAST = {FIXED: 8.0, LONGEST: 2.5}
LOSSES = {"logits, hidden": False, "logits, hidden, attention": True}
"""Name -> whether attention is part of the loss."""


def installed() -> str | None:
    """The installed version of TextBrewer; None if it is not installed."""
    try:
        return version("textbrewer")
    except PackageNotFoundError:
        return None


def rows(times: Times, name: str, options: Options, *, setting: str) -> list[Row]:
    """The rows of one comparison; with the bound if all examples have the same length."""
    speed_up = ratios(times, [f"{name}: textbrewer"], [f"{name}: cohort"])
    if setting != EQUAL:
        return [Row(what=f"{name}: textbrewer / cohort", ratios=speed_up, target=_target(LEAST[setting], options))]
    teacher, student = f"{name}: teacher", f"{name}: student"
    bounds = ratios(times, [teacher, student] * options.runs, [teacher, *[student] * options.runs])
    shares = [ratio / bound for ratio, bound in zip(speed_up, bounds, strict=True)]
    return [
        Row(what=f"{name}: textbrewer / cohort", ratios=speed_up),
        Row(what=f"{name}: its bound", ratios=bounds),
        Row(what=f"{name}: share of the bound", ratios=shares, target=_target(OF_BOUND, options)),
    ]


def _target(least: float, options: Options) -> Target | None:
    return ("at least", least) if options.expected else None


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    """Run the benchmark. Raises `UserError` if TextBrewer or the data set is missing."""
    textbrewer = installed()
    if textbrewer is None:
        raise UserError("textbrewer is not installed: pip install 'kd-harness[bench]'")
    lengths = sst2_data(options)
    data = {EQUAL: fixed_length_data(options), FIXED: lengths, LONGEST: lengths}
    notes: dict[str, float | str] = {"textbrewer": textbrewer, "mean real length": float(lengths.train.lengths.mean())}
    times, table, usage = dict[str, list[int]](), list[Row](), dict[str, Usage]()
    for size in options.students:
        for losses, attention in LOSSES.items():
            for setting, encoded in data.items():
                name = f"{options.teacher} -> {size}, {losses}, {setting.format(length=options.length)}"
                say(name)
                entry = Entry("matched", Matched, {"attention": attention})
                check(Workload(options, encoded, **CHECK), entry, size, setting)
                workload = Workload(options, encoded, max_grad_norm=None, weight_decay=0.0, batching="grouped")
                competing = contestants(workload, name, entry, size, setting)
                times |= interleaved(competing, options, say=say)
                tokens = dict.fromkeys((f"{name}: textbrewer", f"{name}: cohort"), options.runs * workload.tokens)
                # Without the parts, whose batches and teacher outputs take memory.
                competing = {key: competing[key] for key in tokens}
                usage |= device_usage.of(competing, tokens, workload.device)
                table += rows(times, name, options, setting=setting)
    return Measured(CLAIM, table, times, notes, usage=usage)


def contestants(workload: Workload, name: str, entry: Entry, size: str, setting: str) -> dict[str, Contestant]:
    """TextBrewer and the cohort. If all examples have one length, also teacher and student alone, for the bound."""
    selected = [entry] * workload.options.runs
    teacher = adapted(workload.model(workload.options.teacher, seed=0).to(workload.device), entry)
    batches = peer_batches(workload, setting)

    def one_after_another() -> Call:
        calls = [distillation(workload, teacher, run, batches, entry) for run in workload.runs(selected, size)]
        return lambda: [call() for call in calls]

    competing: dict[str, Contestant] = {
        f"{name}: textbrewer": one_after_another,
        f"{name}: cohort": lambda: partial(workload.train, workload.runs(selected, size)),
    }
    if setting == EQUAL:
        parts = Parts(workload, workload.runs([entry], size))
        competing[f"{name}: teacher"] = lambda: lambda: [None for _ in parts.teach()]
        competing[f"{name}: student"] = lambda: partial(parts.train, *workload.runs([entry], size))
    return competing


def peer_batches(workload: Workload, setting: str) -> list[Fields]:
    """The batches of the cohort in TextBrewer's format, with the same rows in each step."""
    length = workload.options.length if setting == FIXED else None
    return [fields(batch, length) for batch in workload.batches(workload.options.steps)]


def check(workload: Workload, entry: Entry, size: str, setting: str) -> None:
    """Raise `AssertionError` if a loss differs between the harness and TextBrewer.

    TextBrewer pads as when it is timed. The cohort uses one group per batch, because TextBrewer's means are over all
    tokens of a batch.
    """
    (ours,) = workload.train(workload.runs([entry], size))
    (run,) = workload.runs([entry], size)
    teacher = adapted(workload.model(workload.options.teacher, seed=0).to(workload.device), entry)
    batches = peer_batches(workload, setting)
    history: dict[str, list[float]] = {}
    distillation(workload, teacher, run, batches, entry, observe=lambda n, v: history.setdefault(n, []).append(v))()
    theirs = [dict(zip(history, step, strict=True)) for step in zip(*history.values(), strict=True)]
    for number, (point, other) in enumerate(list(zip(ours, theirs, strict=True))[:CHECKED], start=1):
        refuse_difference(f"step {number} of {size}", point.terms, other)


def refuse_difference(
    where: str,
    ours: dict[str, float],
    theirs: dict[str, float],
    names: tuple[str, str] = ("the harness", "TextBrewer"),
) -> None:
    """Raise `AssertionError` if loss terms have different names or differ by more than `TOLERANCE`, relatively."""
    one, other = names
    if ours.keys() != theirs.keys():
        raise AssertionError(f"{where}: {one} computes {sorted(ours)}, {other} {sorted(theirs)}")
    for name, value in theirs.items():
        if not abs(ours[name] - value) <= TOLERANCE * abs(value):
            raise AssertionError(f"{where}: {name} is {ours[name]:.8g} in {one}, {value:.8g} in {other}")
