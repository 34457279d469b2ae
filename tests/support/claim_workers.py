"""Processes that contend for claims, and a log from which overlaps can be found.

``python -m tests.support.claim_workers FOLDER EXPIRY INTERVAL ROUNDS TARGET...`` forks a worker for each line of its
input, which is the id of the machine on which the worker pretends to run, and prints the process id of the worker. It
never waits for the workers: a killed one stays a zombie.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.execution.claims import Claims
from harness.storage import process_identity


class Line(NamedTuple):
    """An event. Times are of the monotonic clock; `since` is when the process began to ask for the claim."""

    event: str
    process: int
    target: str
    count: int
    since: float
    at: float


class Log:
    """Events in the order in which they happened, from all processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log"
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, event: str, process: int, target: str = "-", count: int = 0, since: float = 0.0) -> None:
        os.write(self.descriptor, f"{event} {process} {target} {count} {since} {time.monotonic()}\n".encode())

    def lines(self) -> list[Line]:
        fields = (line.split() for line in self.path.read_text().splitlines())
        return [
            Line(event, int(process), target, int(count), float(since), float(at))
            for event, process, target, count, since, at in fields
        ]


def count_of(target: Path) -> int:
    """How often the work on the target was done."""
    return int(target.read_text()) if target.exists() else 0


def work(folder: Path, claims: Claims, rounds: int, targets: list[str]) -> None:
    """Increase the counter of each target to `rounds`. Two processes at a time would reach a count twice."""
    log, process, chance = Log(folder), os.getpid(), random.Random()
    while open_targets := [name for name in targets if count_of(folder / name) < rounds]:
        name, since = chance.choice(open_targets), time.monotonic()
        if not claims.take(folder / name, f"round of {name}"):
            time.sleep(chance.uniform(0, 0.004))
            continue
        log.add("enter", process, name, since=since)
        count = count_of(folder / name) + 1
        time.sleep(chance.uniform(0, 0.01))
        if count <= rounds and not claims.lost(folder / name):
            partial = folder / f"{name}.{process}"
            partial.write_text(str(count))
            partial.replace(folder / name)
            log.add("done", process, name, count)
        log.add("leave", process, name)
        claims.release(folder / name)
    log.add("end", process)


@dataclass
class Findings:
    """What the log says.

    Attributes:
        overlaps: entries into a target while another process was inside, which is not allowed.
        taken_over: entries into a target whose owner was killed, or suspended for long.
        repeated: counts of a target that were reached more than once.
    """

    overlaps: list[str] = field(default_factory=list)
    taken_over: Counter[str] = field(default_factory=Counter)
    repeated: list[tuple[str, int]] = field(default_factory=list)


def check(lines: list[Line], suspension: float) -> Findings:
    """Find overlaps. An entry is allowed if the process inside was killed, or suspended for `suspension` seconds.

    The one that enters may have been suspended for so long, too: between its claim and its line in the log.
    """
    found = Findings()
    inside: dict[tuple[str, int], Line] = {}
    killed: set[int] = set()
    stopped: dict[int, list[float]] = {}

    def suspended(entered: Line, now: float) -> bool:
        # A process that was stopped several times since its claim may have lost it in the first of them.
        return any(stop > entered.since and now - stop > suspension for stop in stopped.get(entered.process, ()))

    for line in lines:
        match line.event:
            case "kill":
                killed.add(line.process)
            case "stop":
                stopped.setdefault(line.process, []).append(line.at)
            case "leave":
                inside.pop((line.target, line.process), None)
            case "enter" if not suspended(line, line.at):
                for other in [other for (target, _), other in inside.items() if target == line.target]:
                    if other.process in killed:
                        found.taken_over["killed"] += 1
                    elif suspended(other, line.at):
                        found.taken_over["suspended"] += 1
                    else:
                        found.overlaps.append(f"{line} while {other} is inside")
                    del inside[other.target, other.process]
                inside[line.target, line.process] = line
    done = Counter((line.target, line.count) for line in lines if line.event == "done")
    found.repeated = [key for key, times in done.items() if times > 1]
    return found


def main() -> None:
    folder, (expiry, interval), rounds = Path(sys.argv[1]), map(float, sys.argv[2:4]), int(sys.argv[4])
    for line in sys.stdin:
        if (process := os.fork()) == 0:
            process_identity.machine = line.strip
            with Claims(expiry=expiry, interval=interval) as claims:
                work(folder, claims, rounds, sys.argv[5:])
            os._exit(0)
        print(process, flush=True)


if __name__ == "__main__":
    main()
