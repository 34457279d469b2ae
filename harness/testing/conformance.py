"""`check_method`: all that the host relies on in a method, checked on tiny models in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from harness.api.batch import TaskKind
from harness.api.errors import UserError, nearest
from harness.api.method import Method
from harness.plugin_host.discovery import describe

if TYPE_CHECKING:  # transformers
    from harness.testing.method_cases import Subject

KINDS: tuple[TaskKind, ...] = ("classification", "regression", "qa", "text")
"""``text`` is unlabelled: what general stages read."""

ALL_CHECKS = "every check"
"""Stands for them where a method is not checked on a kind of task at all."""


@dataclass(frozen=True)
class Result:
    """What one check says of a method on one kind of task. `detail`: the reason, with numbers, or what to know."""

    method: str
    check: str
    task: TaskKind
    status: Literal["passed", "failed", "n/a"]
    detail: str = ""


HEADERS = ("method", "check", "task", "result", "why")


@dataclass(frozen=True)
class Conformance:
    """What all checks say."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Something was checked, and nothing has failed."""
        return not self.failed and any(result.status == "passed" for result in self.results)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.status == "failed"]

    def __str__(self) -> str:
        told = [f"{result.method}, {result.check}, {result.task}: {result.detail}" for result in self.failed]
        return "\n".join(told) or ("all checks passed" if self.ok else "nothing could be checked")

    @property
    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row for each check and kind of task, with the columns of `HEADERS`."""
        return [(each.method, each.check, each.task, each.status, each.detail) for each in self.results]

    @property
    def counts(self) -> str:
        """``60 passed, 0 failed, 3 n/a``."""
        counts = {status: sum(each.status == status for each in self.results) for status in ("passed", "failed", "n/a")}
        return ", ".join(f"{count} {status}" for status, count in counts.items())


def check_method(
    method: str | Path | type[Method],
    *,
    config: Mapping[str, Any] | None = None,
    kinds: Sequence[TaskKind] = KINDS,
) -> Conformance:
    """Check a method on tiny models, print a table of the checks, and return what they say.

    Args:
        method: a method's class or name; a .py file or folder, or the name of an entry point, of which every method is
            checked.
        config: the method's options; None or {} is every option at its default.
        kinds: of tasks; ``text`` stands for the method's stage on unlabelled text, if it has one.

    Raises:
        UserError: there is no such plugin, or it cannot be loaded, or it registers no method.
    """
    conformance = Conformance(
        tuple(r for each in resolve_methods(method) for r in run_checks(each, config or {}, kinds))
    )
    print(tabulate(conformance.rows, HEADERS), conformance.counts, sep="\n\n")
    return conformance


def resolve_methods(plugin: str | Path | type[Method]) -> list[type[Method]]:
    """The methods that a name or a path stands for.

    Raises:
        UserError: there are none.
    """
    from harness.plugin_host.contribution_checks import method_faults
    from harness.plugin_host.host import Host

    if isinstance(plugin, type):
        if faults := list(method_faults(plugin)):
            raise UserError(*faults)
        return [plugin]
    host = Host.create()
    if (name := str(plugin)) in host.methods:
        return [host.methods[name]]
    of_entries = {info.name: info for info in host.plugins}
    if name in of_entries:
        if error := of_entries[name].error:
            raise UserError(f"plugin {name!r} cannot be used: {error}")
        found = [host.methods[each] for each in of_entries[name].methods]
    elif Path(name).expanduser().exists() or name.endswith(".py") or Path(name).name != name:
        found = list(Host.at([name]).methods.values())
    else:
        known = [*host.methods, *of_entries]
        raise UserError(f"there is no method, file or entry point {name!r}; {nearest(name, known)}")
    if not found:
        raise UserError(f"plugin {name!r} registers no method: there is nothing to check")
    return found


def run_checks(method: type[Method], config: Mapping[str, Any], kinds: Sequence[TaskKind] = KINDS) -> Iterator[Result]:
    """The results of all checks, kind of task by kind of task."""
    from harness.models.quiet_transformers import quiet_transformers
    from harness.testing.method_cases import Subject

    options = method.Config.model_validate(config)
    with quiet_transformers():
        for kind in kinds:
            yield from _results(Subject(method, options, kind))


@dataclass(frozen=True)
class Check:
    """A check, and those without which it would only tell their failures again."""

    name: str
    ask: Callable[[Subject], str | None]
    after: tuple[str, ...] = ()


def checks() -> list[Check]:
    """All of them, in their order."""
    from harness.testing import declaration_checks, gradient_checks, invariance_checks, size_checks, training_checks

    terms, trains = ("terms",), ("training",)
    return [
        Check("stages", declaration_checks.stages),
        Check("needs", declaration_checks.needs, ("stages",)),
        Check("terms", declaration_checks.terms, ("stages",)),
        Check("gradients", gradient_checks.gradients, terms),
        Check("teacher frozen", gradient_checks.teacher_frozen, terms),
        Check("zero at identity", gradient_checks.identity, terms),
        Check("padding", invariance_checks.padding, terms),
        Check("order of examples", invariance_checks.order, terms),
        Check("mean over examples", invariance_checks.examples, terms),
        Check("half precision", invariance_checks.half_precision, terms),
        Check("other sizes", size_checks.other_sizes, terms),
        Check("training", training_checks.training, (*terms, "gradients", "teacher frozen")),
        Check("resume", training_checks.resume, trains),
        Check("alone = cohort", training_checks.cohort, trains),
        Check("export", training_checks.export, trains),
    ]


def _results(subject: Subject) -> Iterator[Result]:
    from harness.testing.method_cases import NotApplicable

    name, kind = subject.method.name, subject.kind
    try:
        subject.cases  # noqa: B018
    except NotApplicable as why:
        yield Result(name, ALL_CHECKS, kind, "n/a", str(why))
        return
    except Exception:  # the first check tells of it
        pass
    passed: set[str] = set()
    for check in checks():
        missing = [each for each in check.after if each not in passed]
        if missing:
            yield Result(name, check.name, kind, "n/a", f"{missing[0]!r} has not passed")
            continue
        result = _result(check, subject)
        if result.status == "passed":
            passed.add(check.name)
        yield result


def _result(check: Check, subject: Subject) -> Result:
    from harness.testing.method_cases import CheckFailed, NotApplicable

    name, kind = subject.method.name, subject.kind
    try:
        return Result(name, check.name, kind, "passed", check.ask(subject) or "")
    except NotApplicable as why:
        return Result(name, check.name, kind, "n/a", str(why))
    except (CheckFailed, UserError) as why:
        return Result(name, check.name, kind, "failed", str(why))
    except Exception as error:  # the method's own mistake, told without its traceback
        return Result(name, check.name, kind, "failed", describe(error))
