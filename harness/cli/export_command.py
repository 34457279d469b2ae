"""`harness export`: the best student of a suite, or one run, as a folder that works without the harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command_setup import quiet_libraries
from harness.cli.quantities import count, seconds

if TYPE_CHECKING:
    from harness.export.exporting import Exported


@dataclass(frozen=True)
class ExportOptions:
    """What to export: the task, limits as typed, and the ONNX files to add."""

    task: str | None = None
    label: str | None = None
    student: str | None = None
    seed: int | None = None
    max_latency: str | None = None
    max_params: str | None = None
    onnx: bool = False
    int8: bool = False
    trust_remote_code: bool = False


def export_model(name: str, target: Path, results: Path, options: ExportOptions) -> None:
    """Export a run, or the best run of a suite, to `target`. Prints why it was selected, and the files.

    Raises:
        UserError: nothing has that name, nothing is within the limits, `target` is not empty, or a package is missing.
    """
    quiet_libraries()
    from harness.export.exporting import export_student

    exported = export_student(
        name,
        target,
        results=results,
        task=options.task,
        label=options.label,
        student=options.student,
        seed=options.seed,
        max_seconds=None if options.max_latency is None else seconds(options.max_latency, "--max-latency"),
        max_parameters=None if options.max_params is None else count(options.max_params, "--max-params"),
        onnx=options.onnx,
        int8=options.int8,
        trust_remote_code=options.trust_remote_code,
    )
    print("\n".join(_lines(exported)))


def _lines(exported: Exported) -> Iterator[str]:
    from harness.export import explanation

    facts = exported.facts
    record = facts.record
    run = f"{record.label} on {record.student}, task {record.task}, seed {record.seed}, run {record.key}"
    yield f"{exported.folder}: {run}"
    reasons: Sequence[str] = [
        *(explanation.why(facts.summary, facts.choice, facts.limits) if facts.choice else ()),
        *(explanation.against_teacher(facts.summary, facts.row, facts.task) if facts.row else ()),
    ]
    yield from (f"  {reason}" for reason in reasons)
    for file in exported.files.onnx:
        agreement = "" if file.agreement is None else f", {100 * file.agreement:.1f} % equal predictions"
        yield f"  {file.path}: largest difference from PyTorch {file.deviation:.1e}{agreement}"
    yield "Files:"
    yield from (f"  {path}" for path in sorted(exported.folder.rglob("*")) if path.is_file())
