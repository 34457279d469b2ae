"""An observer that records which runs of a suite start, and can interrupt the suite."""

import os
import signal

from harness import hookimpl


class Watcher:
    """Records the runs that start, and sends SIGINT at a step of one of them: `signal_at` is its label and the step."""

    def __init__(self, signal_at=None):
        self.runs, self.signal_at = [], signal_at

    @property
    def started(self):
        return [run.label for run in self.runs]

    @property
    def started_seeds(self):
        return [(run.label, run.seed) for run in self.runs]

    @hookimpl
    def harness_run_started(self, event):
        self.runs.append(event.run)

    @hookimpl
    def harness_step(self, event):
        if self.signal_at == (event.run.label, event.step):
            self.signal_at = None
            os.kill(os.getpid(), signal.SIGINT)
