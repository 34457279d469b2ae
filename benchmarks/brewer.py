"""The same distillations by TextBrewer's GeneralDistiller, one after another, and by the harness, side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.alone import Parts
from benchmarks.matched import Matched
from benchmarks.measuring import Contestant, Measured, Row, Target, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.peer import Fields, adapted, distillation, fields
from benchmarks.workload import Entry, Workload, fixed_length_data, sst2_data
from harness.api.errors import UserError
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of TextBrewer's GeneralDistiller, one run after another, over that of one cohort of the same runs: the same"
    " models, random batches, losses, optimiser and dtype; every loss of the first two steps is equal before anything"
    " is timed. Where lengths are real the cohort computes each batch in groups of similar length, and then weighs the"
    " groups by their examples, not their tokens. The bound is R (T + S) / (T + R S): of R runs, the teacher's pass T"
    " and a student's step S, measured too."
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
"""Settings under which losses are equal: each side draws its own dropout, and halves round by kernels of their own."""
CHECKED = 2
"""Steps whose losses are compared: the second sees what the first one's update did."""

EQUAL = "examples of one length"
FIXED = "padded to {length} / grouped"
"""How TextBrewer's examples pad."""
LONGEST = "padded to the longest of the batch / grouped"
LEAST = {FIXED: 8.0, LONGEST: 2.5}
LOSSES = {"logits, hidden": False, "logits, hidden, attention": True}
"""Whether attention is compared, too."""


def installed() -> str | None:
    """TextBrewer's version; None where it is not."""
    try:
        return version("textbrewer")
    except PackageNotFoundError:
        return None


def rows(times: Times, name: str, options: Options, *, setting: str) -> list[Row]:
    """Of the contestants called `name`; with the bound where all examples have one length."""
    found = ratios(times, [f"{name}: textbrewer"], [f"{name}: cohort"])
    if setting != EQUAL:
        return [Row(what=f"{name}: textbrewer / cohort", ratios=found, target=_target(LEAST[setting], options))]
    teacher, student = f"{name}: teacher", f"{name}: student"
    bounds = ratios(times, [teacher, student] * options.runs, [teacher, *[student] * options.runs])
    shares = [ratio / bound for ratio, bound in zip(found, bounds, strict=True)]
    return [
        Row(what=f"{name}: textbrewer / cohort", ratios=found),
        Row(what=f"{name}: its bound", ratios=bounds),
        Row(what=f"{name}: share of the bound", ratios=shares, target=_target(OF_BOUND, options)),
    ]


def _target(least: float, options: Options) -> Target | None:
    return ("at least", least) if options.expected else None


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    """Raises `UserError` without TextBrewer or data."""
    peer = installed()
    if peer is None:
        raise UserError("textbrewer is not installed: pip install 'kd-harness[bench]'")
    lengths = sst2_data(options)
    data = {EQUAL: fixed_length_data(options), FIXED: lengths, LONGEST: lengths}
    notes: dict[str, float | str] = {"textbrewer": peer, "mean real length": float(lengths.train.lengths.mean())}
    times, found = dict[str, list[int]](), list[Row]()
    for size in options.students:
        for losses, attention in LOSSES.items():
            for setting, encoded in data.items():
                name = f"{options.teacher} -> {size}, {losses}, {setting.format(length=options.length)}"
                say(name)
                entry = Entry("matched", Matched, {"attention": attention})
                check(Workload(options, encoded, **CHECK), entry, size, setting)
                workload = Workload(options, encoded, max_grad_norm=None, weight_decay=0.0, batching="grouped")
                times |= interleaved(contestants(workload, name, entry, size, setting), options, say=say)
                found += rows(times, name, options, setting=setting)
    return Measured(CLAIM, found, times, notes)


def contestants(workload: Workload, name: str, entry: Entry, size: str, setting: str) -> dict[str, Contestant]:
    """TextBrewer and the cohort; for the bound, where all examples have one length, the teacher and one student
    alone."""
    chosen = [entry] * workload.options.runs
    teacher = adapted(workload.model(workload.options.teacher, seed=0).to(workload.device), entry)
    batches = peer_batches(workload, setting)

    def one_after_another() -> Call:
        calls = [distillation(workload, teacher, run, batches, entry) for run in workload.runs(chosen, size)]
        return lambda: [call() for call in calls]

    found: dict[str, Contestant] = {
        f"{name}: textbrewer": one_after_another,
        f"{name}: cohort": lambda: partial(workload.train, workload.runs(chosen, size)),
    }
    if setting == EQUAL:
        parts = Parts(workload, workload.runs([entry], size))
        found[f"{name}: teacher"] = lambda: lambda: [None for _ in parts.teach()]
        found[f"{name}: student"] = lambda: partial(parts.train, *workload.runs([entry], size))
    return found


def peer_batches(workload: Workload, setting: str) -> list[Fields]:
    """The cohort's batches as TextBrewer reads them: the same rows in each step."""
    length = workload.options.length if setting == FIXED else None
    return [fields(batch, length) for batch in workload.batches(workload.options.steps)]


def check(workload: Workload, entry: Entry, size: str, setting: str) -> None:
    """Raises `AssertionError` where a loss of the two differs. Dropout is off, as each draws its own. TextBrewer reads
    the batches padded as it does when it is timed; ours are one group, since TextBrewer's means are over all tokens of
    a batch."""
    (ours,) = workload.train(workload.runs([entry], size))
    (run,) = workload.runs([entry], size)
    teacher = adapted(workload.model(workload.options.teacher, seed=0).to(workload.device), entry)
    batches = peer_batches(workload, setting)
    seen: dict[str, list[float]] = {}
    distillation(workload, teacher, run, batches, entry, see=lambda n, v: seen.setdefault(n, []).append(v))()
    theirs = [dict(zip(seen, step, strict=True)) for step in zip(*seen.values(), strict=True)]
    for number, (point, other) in enumerate(list(zip(ours, theirs, strict=True))[:CHECKED], start=1):
        refuse_difference(f"step {number} of {size}", point.terms, other)


def refuse_difference(
    where: str,
    ours: dict[str, float],
    theirs: dict[str, float],
    names: tuple[str, str] = ("the harness", "TextBrewer"),
) -> None:
    """Raises `AssertionError` for terms that are not the same, or not equal within `TOLERANCE`, relative to theirs."""
    one, other = names
    if ours.keys() != theirs.keys():
        raise AssertionError(f"{where}: {one} computes {sorted(ours)}, {other} {sorted(theirs)}")
    for name, value in theirs.items():
        if not abs(ours[name] - value) <= TOLERANCE * abs(value):
            raise AssertionError(f"{where}: {name} is {ours[name]:.8g} in {one}, {value:.8g} in {other}")
