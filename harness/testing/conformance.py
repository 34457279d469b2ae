"""`check_method`: conformance checks of a method on tiny random models, in seconds and without data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

from harness.api.batch import TaskKind
from harness.api.errors import UserError, describe, nearest
from harness.api.method import Method
from harness.config.yaml_tree import display_path
from harness.plugin_host.discovery import place_of
from harness.testing.task_kinds import KINDS, require_kinds

if TYPE_CHECKING:  # transformers
    from harness.testing.method_cases import Subject

ALL_CHECKS = "every check"
"""`Result.check` where a method is not checked on a kind of task at all."""


@dataclass(frozen=True)
class Result:
    """The result of one check of a method on one kind of task. `detail` gives the reason, with numbers."""

    method: str
    check: str
    task: TaskKind
    status: Literal["passed", "failed", "n/a"]
    detail: str = ""


HEADERS = ("method", "check", "task", "result", "why")


@dataclass(frozen=True)
class Conformance:
    """The results of all checks of one or more methods."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether at least one check passed and none failed."""
        return not self.failed and any(result.status == "passed" for result in self.results)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.status == "failed"]

    def __str__(self) -> str:
        failures = [f"{result.method}, {result.check}, {result.task}: {result.detail}" for result in self.failed]
        return "\n".join(failures) or ("all checks passed" if self.ok else "nothing could be checked")

    @property
    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row for each check and kind of task, with the columns of `HEADERS`."""
        return [(result.method, result.check, result.task, result.status, result.detail) for result in self.results]

    @property
    def counts(self) -> str:
        """``60 passed, 0 failed, 3 n/a``."""
        statuses = [result.status for result in self.results]
        counts = {status: statuses.count(status) for status in ("passed", "failed", "n/a")}
        return ", ".join(f"{count} {status}" for status, count in counts.items())


def check_method(
    method: str | Path | type[Method],
    *,
    config: Mapping[str, Any] | None = None,
    kinds: Sequence[TaskKind] = KINDS,
) -> Conformance:
    """Run all conformance checks on a method, print a table of them, and return the results.

    Args:
        method: a method's class or name; or a .py file, a folder or the name of an entry point, whose methods are all
            checked.
        config: the method's options; None or {}: the defaults.
        kinds: the kinds of task to check on; ``text`` checks the method's stage on unlabelled text, if it has one.

    Raises:
        UserError: the plugin does not exist, cannot be loaded, or registers no method; or there is no such kind.
    """
    require_kinds(kinds)
    methods = resolve_methods(method)
    conformance = Conformance(tuple(result for cls in methods for result in run_checks(cls, config or {}, kinds)))
    print(origins(methods), tabulate(conformance.rows, HEADERS), conformance.counts, sep="\n\n")
    return conformance


def origins(methods: Sequence[type[Method]]) -> str:
    """A line for each method with the file of its class: which of several methods of that name has been checked."""
    return "\n".join(f"{method.name}: {_file_of(method)}" for method in methods)


def _file_of(method: type[Method]) -> str:
    try:
        return display_path(Path(inspect.getfile(method)))
    except (TypeError, OSError):  # it was defined at a prompt
        return f"module {method.__module__}"


def resolve_methods(plugin: str | Path | type[Method]) -> list[type[Method]]:
    """The methods that a class, a name, a path or an entry point refers to.

    A path comes first: a `Path`, text with a separator or the ending .py, and a name that is also that of a file or
    folder with a plugin. So an author checks the own folder, and not an installed method of the same name.

    Raises:
        UserError: the plugin does not exist, cannot be loaded, or registers no method.
    """
    from harness.plugin_host.contribution_checks import method_faults
    from harness.plugin_host.host import Host

    if isinstance(plugin, type):
        if faults := list(method_faults(plugin)):
            raise UserError(*faults)
        return [plugin]
    if isinstance(plugin, Path) or plugin.endswith(".py") or Path(plugin).name != plugin or _is_plugin(plugin):
        return _registered(plugin, Host.at([plugin]).methods.values())
    host, name = Host.create(), plugin
    if name in host.methods:
        return [host.methods[name]]
    if installed := [info for info in host.plugins if info.name == name]:
        methods = [host.methods[method] for info in installed for method in info.methods]
        reasons = [reason for info in installed for reason in (info.error, *info.left_out) if reason]
        if reasons and not methods:
            raise UserError(f"plugin {name!r} cannot be used: {'; '.join(reasons)}")
        return _registered(name, methods)
    if Path(name).expanduser().exists():
        return _registered(name, Host.at([name]).methods.values())  # raises: it holds no plugin
    known = {*host.methods, *(info.name for info in host.plugins)}
    raise UserError(f"there is no method, file or entry point {name!r}; {nearest(name, known)}")


def _is_plugin(name: str) -> bool:
    """Whether the working directory has a plugin of this name: a package, or a folder of plugins."""
    from harness.plugin_host import discovery

    try:
        return bool(discovery.module_names(Path(name).expanduser()))
    except UserError:
        return False


def _registered(plugin: str | Path, methods: Iterable[type[Method]]) -> list[type[Method]]:
    found = list(methods)
    if not found:
        raise UserError(f"plugin {str(plugin)!r} registers no method, so there is nothing to check")
    return found


def run_checks(method: type[Method], config: Mapping[str, Any], kinds: Sequence[TaskKind] = KINDS) -> Iterator[Result]:
    """Yields the results of all checks, one kind of task after another."""
    from harness.models.quiet_transformers import quiet_transformers
    from harness.testing.method_cases import Subject

    options = method.Config.model_validate(config)
    with quiet_transformers():
        for kind in kinds:
            yield from _results(Subject(method, options, kind))


@dataclass(frozen=True)
class Check:
    """A conformance check.

    Attributes:
        name: as `harness check` prints it.
        run: returns a remark or None; raises `CheckFailed` or `CheckNotApplicable`.
        requires: names of checks that have to pass first; otherwise their failure would be reported twice.
        applies: whether the method has what is checked; otherwise the check has no result.
    """

    name: str
    run: Callable[[Subject], str | None]
    requires: tuple[str, ...] = ()
    applies: Callable[[Subject], bool] = lambda subject: True


def checks() -> list[Check]:
    """All conformance checks, in the order in which they run."""
    from harness.testing import (
        augmentation_check,
        declaration_checks,
        gradient_checks,
        invariance_checks,
        size_checks,
        training_checks,
    )

    terms, trains = ("terms",), ("training",)
    return [
        Check("stages", declaration_checks.stages),
        Check("augmentation", augmentation_check.augmentation, ("stages",), augmentation_check.has_augmentation),
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
    from harness.testing.method_cases import CheckNotApplicable

    name, kind = subject.method.name, subject.kind
    try:
        subject.cases  # noqa: B018
    except CheckNotApplicable as reason:
        yield Result(name, ALL_CHECKS, kind, "n/a", str(reason))
        return
    except Exception:  # the first check reports it
        pass
    passed: set[str] = set()
    for check in checks():
        if not _applies(check, subject):
            continue
        missing = [name for name in check.requires if name not in passed]
        if missing:
            yield Result(name, check.name, kind, "n/a", f"{missing[0]!r} has not passed")
            continue
        result = _result(check, subject)
        if result.status == "passed":
            passed.add(check.name)
        yield result


def _applies(check: Check, subject: Subject) -> bool:
    try:
        return check.applies(subject)
    except Exception:  # `check.run` fails for the same reason, and then it is reported
        return True


def _result(check: Check, subject: Subject) -> Result:
    from harness.testing.method_cases import CheckFailed, CheckNotApplicable

    name, kind = subject.method.name, subject.kind
    try:
        return Result(name, check.name, kind, "passed", check.run(subject) or "")
    except CheckNotApplicable as reason:
        return Result(name, check.name, kind, "n/a", str(reason))
    except (CheckFailed, UserError) as reason:
        return Result(name, check.name, kind, "failed", f"{reason}{_line(reason.__cause__, subject.method)}")
    except Exception as error:  # a mistake of the method: reported with its line instead of its traceback
        return Result(name, check.name, kind, "failed", f"{describe(error)}{_line(error, subject.method)}")


def _line(error: BaseException | None, method: type[Method]) -> str:
    """The last line of the method's package in the traceback of an error, in parentheses; empty if there is none."""
    place = place_of(error, method.__module__) if error is not None else None
    return f" ({place[0].name}:{place[1]})" if place else ""
