"""Create the augmented data that a suite's runs train on. Runs of a row on a task share it."""

from __future__ import annotations

from harness.api.method import Augmentation, Method
from harness.models import pretrained
from harness.planning import keys
from harness.planning.job_inputs import TaskData
from harness.planning.jobs import AugmentationJob
from harness.planning.suite_models import SuiteModels
from harness.resolution import augmentation_inputs
from harness.resolution.suite import MethodVariant, Suite
from harness.storage.hashing import key
from harness.training.schedule import stage_data


class AugmentationJobs:
    """The augmented data of one plan."""

    def __init__(self, suite: Suite, models: SuiteModels, device: str) -> None:
        self.suite = suite
        self.models = models
        self.device = device
        self._jobs: dict[tuple[str, str], AugmentationJob | None] = {}

    def job(self, variant: MethodVariant, method: Method, data: TaskData) -> AugmentationJob | None:
        """Return the augmented data of a row on a task, None if no stage of its `method` uses any."""
        job_id = data.task.name, variant.label
        if job_id not in self._jobs:
            request = method.augmentation()
            self._jobs[job_id] = self._job(request, variant, method, data) if request else None
        used = "augmented" in stage_data(tuple(method.stages()), variant.stages, augmented=True)
        return self._jobs[job_id] if used else None

    def _job(self, request: Augmentation, variant: MethodVariant, method: Method, data: TaskData) -> AugmentationJob:
        name = augmentation_inputs.model_of(request, self.suite, variant)
        model = None if name is None else self.models.path(name)
        files = augmentation_inputs.files_of(request, self.suite, variant)
        fingerprint = None if model is None else pretrained.fingerprint(model)
        parts = keys.augmentation(request, method, fingerprint, files, data, self.device)
        return AugmentationJob(variant.label, data, request, model, files, parts, key(parts))
