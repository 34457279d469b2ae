"""A step of runs that share one forward and one backward pass of their students."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from harness.models.memory_errors import ran_out_of_memory
from harness.models.stacked_students import StackedOutputs, StackedStudents
from harness.training import micro_batching, precision
from harness.training.loss_passes import BatchPart, LoggedValue
from harness.training.run import Run
from harness.training.shared_tensors import SharedTensors, SharedTensorsChanged
from harness.training.step_execution import StepInputs
from harness.training.step_gradients import StepStart
from harness.training.stopwatch import Lap


class RunStack:
    """Runs with students of one architecture, which read outputs up to the same depth.

    The students' passes are shared. Losses, their gradients with respect to the outputs, updates and random states are
    those of each run alone.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.students = StackedStudents([run.capture for run in runs])
        self.raised: set[Run] = set()
        """Runs whose method raised in the last step."""
        first = runs[0]
        self.training, self.device = first.training, first.device

    def step(self, inputs: Mapping[Run, StepInputs], shared: SharedTensors) -> list[Run]:
        """Take a step; returns the runs that have to take it alone: those that raised, or all if the shared pass did.

        See `StepExecution.step` for the errors.
        """
        lap = Lap(self.device)
        try:
            taken = self._take(inputs, shared)
        finally:
            lap.end()
            for run in self.runs:
                run.cost.student.add(lap, 1 / len(self.runs))
        for run in taken:
            if run.error is None:
                with run.failing():
                    run.end_step()
        return [run for run in self.runs if run not in taken]

    def _take(self, inputs: Mapping[Run, StepInputs], shared: SharedTensors) -> list[Run]:
        """Compute the gradients and update the weights; returns the runs that have taken the step, or failed in it."""
        self.raised = set()
        starts: dict[Run, StepStart] = {}
        try:
            with micro_batching.convert_memory_errors():
                for run in self.runs:
                    with self.raising(run):
                        starts[run] = run.gradients.start()
                attempt = _Attempt(self, starts)
                if not self.raised:
                    attempt.add_gradients(inputs)
            if shared.changed:
                raise SharedTensorsChanged
        except Exception as error:
            self._restore(starts.values())
            if isinstance(error, micro_batching.InsufficientMemory | SharedTensorsChanged):
                raise
            return []  # a run that takes its step alone says what is wrong
        if len(starts) < len(self.runs):
            self._restore(starts.values())
            return []
        self._restore([starts[run] for run in self.raised])
        return [run for run in self.runs if run not in self.raised and self._update(run, attempt, shared)]

    def _update(self, run: Run, attempt: _Attempt, shared: SharedTensors) -> bool:
        """Update the weights of a run; returns whether memory sufficed."""
        try:
            with run.failing():
                run.update(attempt.steps[run], attempt.logged[run])
                shared.check()
        except micro_batching.InsufficientMemory:
            self._restore([attempt.starts[run]])
            return False
        return True

    def _restore(self, starts: Iterable[StepStart]) -> None:
        """Undo the attempt of these runs."""
        for start in starts:
            start.before.restore()
        self.students.zero_grad(collected=True)

    @contextmanager
    def raising(self, run: Run) -> Iterator[None]:
        """Any error of the block but lack of memory makes the run take its step alone."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if ran_out_of_memory(error):
                raise
            self.raised.add(run)


class _Attempt:
    """One attempt of a stack at the gradients of a step."""

    def __init__(self, stack: RunStack, starts: Mapping[Run, StepStart]) -> None:
        self.stack, self.starts = stack, starts
        self.steps = {run: run.gradients.current_step() for run in starts}
        self.logged: dict[Run, list[LoggedValue]] = {run: [] for run in starts}

    def add_gradients(self, inputs: Mapping[Run, StepInputs]) -> None:
        """Add the gradients of all runs but those that raise."""
        stack = self.stack
        parts = [
            run.gradients.parts(start, inputs[run].batches, inputs[run].teachers) for run, start in self.starts.items()
        ]
        for part_of_each in zip(*parts, strict=True):
            outputs = self._forward(part_of_each[0])
            for number, (run, part) in enumerate(zip(stack.runs, part_of_each, strict=True)):
                if run not in stack.raised:
                    with stack.raising(run):
                        self._losses(run, number, part, outputs)
            with precision.matmuls(stack.training, stack.device):
                outputs.backward([number for number, run in enumerate(stack.runs) if run in stack.raised])
            for number, run in enumerate(stack.runs):
                if run not in stack.raised:
                    stack.students.collect_gradients(number, outputs.reached(number))
            stack.students.zero_grad()
        for number, run in enumerate(stack.runs):
            if run not in stack.raised:
                stack.students.hand_out_gradients(number)

    def _forward(self, part: BatchPart) -> StackedOutputs:
        """The outputs of all students."""
        stack, batch = self.stack, part.batch
        needs = frozenset[str]().union(*(start.needs.student for start in self.starts.values()))
        with ExitStack() as contexts:
            generators = [contexts.enter_context(run.random.device_generator()) for run in stack.runs]
            contexts.enter_context(precision.matmuls(stack.training, stack.device))
            contexts.enter_context(precision.autocast(stack.training, stack.device))
            return stack.students.run(batch.inputs, needs, generators, answer_mask=batch.answer_mask)

    def _losses(self, run: Run, number: int, part: BatchPart, outputs: StackedOutputs) -> None:
        """Add the gradients of one run's losses with respect to its student's outputs, and to what else they reach."""
        student = outputs.of_each[number].only(self.starts[run].needs.student)
        before = outputs.versions
        self.logged[run] += run.gradients.add(self.steps[run], part, student)
        if outputs.versions != before:
            raise TypeError("the method has changed an output of the student in place")
