"""`harness` commands in processes of their own that start at once: forked from a server that has imported everything.

`run_pytest` and `ForkedCommand(main=...)` start pytest, or another function, in the same way.

A process that is started anew imports torch, transformers and datasets first, which takes five seconds of CPU. The
server is started by the first command of a test process. What is read when a module is imported (`HF_HOME`, ...) is
that of the server: tests of such settings need a new interpreter.

``python -m tests.support.forked_commands`` is the server. It reads a JSON object per line: a command to start, which it
answers by the process id, or ``{"poll": ID}``, which it answers by the exit code, or null while the process runs.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]

NOT_IMPORTED = (
    "harness.__main__",
    "harness.testing",
    "harness.latency",
    "harness.execution.ray_engine",
    "harness.trackers",
)
"""Modules that the server does not import: few commands use them, and some need packages of extras."""


def set_options(overrides: Iterable[str]) -> list[str]:
    """The arguments ``--set OVERRIDE`` for each override."""
    return [argument for override in overrides for argument in ("--set", override)]


class ForkedCommand:
    """A `harness` command that runs in a process of its own.

    Args:
        arguments: those of the command line, without ``harness``.
        folder: the working folder.
        environment: variables that differ from those of this process.
        stdout: a file for what it prints; by default that is discarded.
        prepare: a function of a module, called in the process before the command.
        main: a function of a module that reads `sys.argv` and returns its exit code, in place of the `harness` command.
        new_group: whether it leads a process group of its own.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        stdout: Path | None = None,
        prepare: Callable[[], object] | None = None,
        main: Callable[[], object] = app.main,
        new_group: bool = False,
    ) -> None:
        descriptor, name = tempfile.mkstemp(".txt", "stderr-", folder)
        os.close(descriptor)
        self._errors, self._code = Path(name), None
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": {**os.environ, **(environment or {})},
            "stdout": str(stdout or os.devnull),
            "stderr": name,
            "prepare": prepare and [prepare.__module__, prepare.__name__],
            "main": [main.__module__, main.__name__],
            "new_group": new_group,
        }
        self.pid: int = _ask(request)

    @property
    def errors(self) -> str:
        """What it has printed on stderr so far."""
        return self._errors.read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        if self._code is None:
            self._code = _ask({"poll": self.pid})
        return self._code

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end. Returns the exit code."""
        limit = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < limit, f"it still runs after {timeout} s: {self.errors}"
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self.send_signal(signal.SIGKILL)
        self.wait()


def _ask(request: Mapping[str, Any]) -> Any:
    """Send a request to the server. Returns its answer."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[str]:
    """Start the server. It ends with this process."""
    command = [sys.executable, "-m", "tests.support.forked_commands"]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def serve() -> None:
    """Answer requests. Commands that still run at the end are killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal of the tests is for those
    os.fsync = lambda descriptor: None  # a kill does not lose what the system still has to write
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if process := request.get("poll"):
            ended, status = os.waitpid(process, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
            running -= {ended}
        elif answer := os.fork():
            running.add(answer)
        else:
            become(**request)
        print(json.dumps(answer), flush=True)
    for process in running:
        os.kill(process, signal.SIGKILL)


def become(
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    stdout: str,
    stderr: str,
    prepare: tuple[str, str] | None,
    main: tuple[str, str],
    new_group: bool,
) -> None:
    """Execute the command in the forked process, which ends."""
    if new_group:
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, name in enumerate((os.devnull, stdout, stderr)):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["harness", *arguments]
    if prepare is not None:
        _call(prepare)
    sys.exit(_call(main))


def _call(place: Sequence[str]) -> Any:
    """Call the function of a module, given by the names of both."""
    module, function = place
    return getattr(importlib.import_module(module), function)()


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run ``python -m pytest -q`` with these arguments in `folder`. Returns its exit code and what it printed."""
    output = folder / "stdout of pytest.txt"
    process = ForkedCommand(["-q", "-p", "no:cacheprovider", *arguments], folder, stdout=output, main=pytest_main)
    return process.wait(), output.read_text(encoding="utf-8") + process.errors


def pytest_main() -> int:
    """What ``python -m pytest`` does."""
    sys.path[0] = str(Path.cwd())
    return pytest.console_main()


def import_everything() -> None:
    """Import all modules of `harness`, and those of transformers that a command imports when it needs them."""
    import transformers.models.bert.modeling_bert  # noqa: F401

    import harness

    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        if not module.name.startswith(NOT_IMPORTED):
            importlib.import_module(module.name)


if __name__ == "__main__":
    import_everything()
    serve()
