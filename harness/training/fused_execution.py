"""Steps of several runs with one shared forward and backward pass of their students."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from weakref import WeakKeyDictionary, WeakSet

from harness.models import stack_check
from harness.models.output_names import parse
from harness.training import micro_batching
from harness.training.run import Run
from harness.training.run_stack import RunStack
from harness.training.shared_tensors import SharedTensors
from harness.training.step_execution import StepInputs, step_alone


class FusedExecution:
    """Runs whose students can share passes take their steps together, the others alone.

    A stack that does not fit in memory is halved, and no larger one is formed afterwards. A method that raises in a
    stack, such as one that differentiates the student's outputs with respect to each other, steps alone from then on.
    """

    def __init__(self) -> None:
        self._stacks: list[RunStack] = []
        self._largest: int | None = None
        """The most runs of a stack, once one did not fit in memory."""
        self._excluded: WeakSet[Run] = WeakSet()
        self._architectures: WeakKeyDictionary[Run, Hashable | None] = WeakKeyDictionary()

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Stacks of runs with equal students and passes. Checks new architectures, which can run out of memory."""
        if len(runs) == 1:  # memory that suffices for its step may not suffice for the check
            return [list(runs)]
        stacks: dict[Hashable, list[Run]] = {}
        for run in runs:
            key = self._key(run)
            stacks.setdefault((run,) if key is None else key, []).append(run)
        return [part for stack in stacks.values() for part in _split(stack, self._largest or len(stack))]

    def step(self, inputs: Mapping[Run, StepInputs], shared: SharedTensors) -> list[Run]:
        runs = list(inputs)
        if len(runs) == 1:
            with micro_batching.convert_memory_errors():
                self.leave(runs[0])
            step_alone(runs[0], inputs[runs[0]], shared)
            return []
        try:
            with micro_batching.convert_memory_errors():
                stack = self._stack(runs)
            apart = stack.step(inputs, shared)
        except micro_batching.InsufficientMemory:
            self._largest = (len(runs) + 1) // 2
            raise
        self._excluded.update(stack.raised)
        return apart

    def leave(self, run: Run) -> None:
        """Give the student memory of its own."""
        for stack in self._stacks:
            if run in stack.runs:
                self._dissolve(stack)
                return

    def _key(self, run: Run) -> Hashable | None:
        """Equal for runs that can step together; None: this one steps alone."""
        if run.stage.live or run in self._excluded:
            return None
        needs = [need for name in run.needs().student if (need := parse(name)) is not None]
        if run not in self._architectures:
            can = stack_check.can_share_passes(run.capture)
            self._architectures[run] = stack_check.architecture(run.student) if can else None
        architecture = self._architectures[run]
        if architecture is None or not needs or run.error is not None:
            return None
        # A pass draws dropout until it ends, so all runs of a stack end it at the same place, as they would alone.
        depth = max(need.depth for need in needs)
        deepest = frozenset(need for need in needs if need.depth == depth)
        micro_batch_size = run.gradients.micro_batch_size
        splits = run.training.batching == "grouped" or micro_batch_size is not None
        return architecture, deepest, bool(run.stage.batch_dependent) and splits, micro_batch_size

    def _stack(self, runs: Sequence[Run]) -> RunStack:
        """The stack of exactly these runs."""
        for stack in [stack for stack in self._stacks if set(stack.runs) & set(runs)]:
            if stack.runs == tuple(runs) and stack.students.intact:
                return stack
            self._dissolve(stack, keep=runs)
        stack = RunStack(runs)
        self._stacks.append(stack)
        return stack

    def _dissolve(self, stack: RunStack, keep: Sequence[Run] = ()) -> None:
        """Forget a stack. Its runs get memory of their own, but those of `keep`, which enter another stack."""
        self._stacks.remove(stack)
        stack.students.separate([number for number, run in enumerate(stack.runs) if run not in keep])


def _split(runs: list[Run], largest: int) -> list[list[Run]]:
    """Parts of nearly equal size, of at most `largest` runs."""
    count = -(-len(runs) // largest)
    ends = [len(runs) * number // count for number in range(count + 1)]
    return [runs[start:end] for start, end in itertools.pairwise(ends)]
