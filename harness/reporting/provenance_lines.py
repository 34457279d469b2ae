"""Where the results of a board come from: command, seeds, data, text stages, machines, packages and code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from harness.analysis import data_notes, interval_coverage, selection_notes
from harness.analysis.speed_up import machine
from harness.analysis.summary import Summary
from harness.api.wording import counted
from harness.reporting.formatting import duration
from harness.storage.plan_file import PlanFile
from harness.storage.records import Hardware, TeacherRecord


def provenance(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the command, data, machines, packages and code that produced the results."""
    plan, results = summary.plan, summary.results
    yield "Command", f"`{plan.command}`"
    yield "Seeds", ", ".join(map(str, plan.seeds))
    for name in interval_coverage.one_per_seed(plan):
        yield f"Seeds of teacher {name}", _teacher_seeds(summary, name)
    yield from _teacher_heads(summary)
    yield from _assistants(plan)
    yield from _data(summary)
    yield from selection_notes.provenance(summary)
    if plan.tuning:
        untuned = {study.label: None for study in plan.tuning.studies if study.key is None}
        without = f"; nothing to tune on at least one task: {', '.join(untuned)}" if untuned else ""
        yield "Tuning", f"{counted(plan.tuning.trials, 'trial')} per row and task, the same for all{without}"
    yield from _text_stages(summary)
    if not results:
        return
    yield "Hardware", _variants(_machine(result.provenance.hardware) for result in results)
    yield "Packages", _variants(_packages(result.provenance.packages) for result in results)
    yield "Code", _variants(_commit(r.provenance.git_commit, r.provenance.git_dirty) for r in results)
    if summary.others:
        yield "Not counted", f"{counted(summary.others, 'result')} with other settings in the same folder"


def _data(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of the data of each task: the examples that were scored, corrections and truncated texts."""
    for task in summary.plan.tasks:
        of_task = [result for result in summary.results if result.task == task.name]
        if of_task:
            text = f"`{of_task[0].data_fingerprint}`, the same in {counted(len(of_task), 'result')}"
            yield f"Examples scored, {task.name}", text
        if task.data:
            yield from data_notes.provenance(task.name, task.data)
        yield from data_notes.truncation(task.name, task.truncated)


def _text_stages(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield (title, text) for each text stage: who starts from it, its length and cost, and where its student is."""
    records = {record.key: record for record in summary.generals}
    for planned in summary.plan.generals:
        record = records.get(planned.key)
        cost = duration(record.cost.student_seconds + record.cost.teacher_seconds) if record else "not trained yet"
        steps = f"{counted(planned.steps, 'step')} on {planned.data}, {cost}"
        text = f"{', '.join(planned.labels)}, {planned.student}: {steps}"
        yield "Text stage", f"{text}; `general/{planned.key}/student`"


def _teacher_seeds(summary: Summary, name: str) -> str:
    """List the teacher's fine-tuning seeds, in the order of the runs' seeds."""
    seeds = {r.key: r.seed for r in summary.results if isinstance(r, TeacherRecord)}
    keys = next(keys for keys in summary.plan.teachers[name].values() if len(keys) > 1)
    return ", ".join("not trained yet" if seeds.get(key) is None else str(seeds[key]) for key in keys)


def _assistants(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Yield (title, text) for each teacher that is a row of the board: which row, and what that row learned from."""
    for name, assistant in plan.assistants.items():
        runs = "the run of the same seed" if assistant.seed is None else f"the run of seed {assistant.seed}"
        row = plan.rows.get(assistant.label)
        learned = f"; that row learned from {' and '.join(row.teachers)}" if row and row.teachers else ""
        yield f"Teacher {name}", f"the student {assistant.student} of row {assistant.label}, {runs}{learned}"


def _teacher_heads(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield (title, text) for each teacher whose checkpoint had a head: whether it was used, trained or replaced."""
    tasks: dict[str, dict[str, list[str]]] = {}
    for result in summary.results:
        if isinstance(result, TeacherRecord) and result.head:
            tasks.setdefault(result.name, {}).setdefault(result.head, []).append(result.task)
    for name, by_head in tasks.items():
        heads = (f"{', '.join(dict.fromkeys(on))}: {head}" for head, on in by_head.items())
        yield f"Head of teacher {name}", "; ".join(heads)


def _machine(hardware: Hardware) -> str:
    return f"{machine(hardware)}, {hardware.memory_bytes / 2**30:.0f} GiB"


def _packages(versions: dict[str, str]) -> str:
    return ", ".join(
        f"{'kd-harness' if name == 'harness' else name} {version}" for name, version in sorted(versions.items())
    )


def _commit(commit: str | None, dirty: bool | None) -> str:
    if commit is None:
        return "not from a git checkout"
    return f"git commit `{commit[:12]}`" + (", with uncommitted changes" if dirty else "")


def _variants(values: Iterable[str]) -> str:
    """Return the value that all results share, or each value with its number of results."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    if len(counts) == 1:
        return counts[0][0]
    return "; ".join(f"{value} ({counted(number, 'result')})" for value, number in counts)
