"""Cost, model size and provenance of a run for its record, and the events of a run for observers."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.api.events import EpochScore, EpochScored, LossPoint, RunFailed, RunId, RunStarted, StepLogged
from harness.models.families import shape
from harness.planning.jobs import RunJob, TeacherJob, TextStageJob
from harness.plugin_host.host import Host
from harness.storage import provenance
from harness.storage.records import Cost, ModelSize, Provenance
from harness.tasks.text_task import TEXT_TASK
from harness.training.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_COST = Cost(
    wall_seconds=0.0,
    student_seconds=0.0,
    teacher_seconds=0.0,
    evaluation_seconds=0.0,
    steps=0,
    tokens=0,
    teacher_forwards=0,
    cohort_size=0,
)
"""The cost of a result that nothing was trained for."""


def identity(job: RunJob) -> dict[str, Any]:
    """The fields of a `RunRecord` that say which run it is: known before the run starts, the same if it fails."""
    return {
        **job.planned.model_dump(),
        "data_fingerprint": job.data.validation_fingerprint,
        "parts": dict(job.parts),
    }


def cost(run: Run, *, cohort_size: int, evaluation_seconds: float) -> Cost:
    """The cost of the run so far, with its share of the teachers' time.

    `evaluation_seconds` is the time of scoring the run after its last step.
    """
    return Cost(
        wall_seconds=run.cost.wall_seconds,
        student_seconds=run.cost.student_seconds,
        teacher_seconds=run.cost.teacher_seconds,
        teacher_seconds_whole=run.cost.teacher_seconds_whole,
        evaluation_seconds=run.cost.evaluation_seconds + evaluation_seconds,
        steps=run.position,
        tokens=run.cost.tokens,
        padding=run.cost.padding,
        teacher_forwards=run.cost.teacher_forwards,
        cohort_size=cohort_size,
        peak_memory_bytes=peak_memory(run.device),
        micro_batch_size=run.gradients.micro_batch_size,
        skipped_steps=run.trained.skipped_steps,
    )


def peak_memory(device: torch.device) -> int:
    """Peak memory of the process so far, in bytes: memory allocated by torch on a GPU, resident memory on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def size(model: PreTrainedModel, name: str, *, tokens: int) -> ModelSize:
    """Parameters, dimensions and FLOPs of a model. FLOPs: see `flops`."""
    dimensions = shape(model.config, name)
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=dimensions.layers,
        hidden=dimensions.hidden,
        heads=dimensions.heads,
        ffn=dimensions.ffn,
        flops=flops(model, tokens),
    )


def flops(model: PreTrainedModel, tokens: int) -> int:
    """FLOPs of one forward pass of one example with `tokens` tokens; a multiply-add counts as two.

    Runs the math kernel of attention, because torch does not count the fused kernel of the CPU.
    """
    ids = torch.ones(1, tokens, dtype=torch.long, device=model.device)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    return int(counter.get_total_flops())


def provenance_of(device: torch.device, started: str) -> Provenance:
    """The hardware, the packages and the commit of a result, with the current time as its end."""
    commit, dirty = provenance.git()
    return Provenance(
        hardware=provenance.hardware(str(device)),
        packages=provenance.packages(),
        git_commit=commit,
        git_dirty=dirty,
        started=started,
        ended=provenance.now(),
    )


def announce(host: Host, run: Run, *, cohort: int) -> None:
    """Notify observers that a run starts or resumes."""
    host.notify("harness_run_started", RunStarted(run=run.id, step=run.position, steps=run.steps, cohort=cohort))


def reporter(host: Host) -> Callable[[Run, LossPoint], None]:
    """Return a function that notifies observers of a run's losses."""

    def report(run: Run, point: LossPoint) -> None:
        event = StepLogged(
            run=run.id, stage=point.stage, step=point.step, steps=run.steps, losses=dict(point.terms), lr=point.lr
        )
        host.notify("harness_step", event)

    return report


def score_reporter(host: Host, run: RunId) -> Callable[[EpochScore], None]:
    """Return a function that notifies observers of a run's score at the end of an epoch."""
    return lambda point: host.notify("harness_epoch_scored", EpochScored(run, point))


def announce_failure(host: Host, run: Run) -> None:
    """Notify observers that a run has failed."""
    host.notify("harness_run_failed", RunFailed(run=run.id, step=run.position, error=run.error or ""))


def run_id(job: RunJob | TeacherJob | TextStageJob) -> RunId:
    """The id of a run, by which observers know it."""
    if isinstance(job, TeacherJob):
        return RunId(job.key, job.data.task.name, job.row, "", job.seed, role="teacher")
    if isinstance(job, TextStageJob):
        return RunId(job.key, TEXT_TASK.name, job.label, job.student, job.seed, role="general")
    planned, role = job.planned, "student" if job.trial is None else "trial"
    return RunId(planned.key, planned.task, planned.label, planned.student, planned.seed, role, job.trial)


def announce_failed_job(host: Host, job: RunJob | TeacherJob | TextStageJob, error: str) -> None:
    """Notify observers that a job failed, whether its run has started or not."""
    host.notify("harness_run_failed", RunFailed(run=run_id(job), step=0, error=error))
