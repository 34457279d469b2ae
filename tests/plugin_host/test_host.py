"""The plugin host: discovery of plugins and validation of what they register."""

import importlib
import logging
import os
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from harness import hookimpl
from harness.api.errors import UserError
from harness.api.events import RunId, StepLogged
from harness.plugin_host.host import Host, PluginInfo

METHOD = """
from harness import Method, MethodConfig, Needs, Stage, hookimpl

class Mine(Method):
    name = "mine"
    def stages(self): return [Stage("only", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers): return {"zero": student.logits.sum() * 0}
"""
REGISTER = """
@hookimpl
def harness_register_methods(register): register(Mine)
"""
TASK = """
from harness.api.task import Task

@hookimpl
def harness_register_tasks(register):
    register(Task(name="mood", kind="classification", load=print, metrics=("accuracy",), score="accuracy",
                  labels=("bad", "good")))
"""
STEP = StepLogged(RunId("k", "sst2", "mine", "small", 1), "only", 1, 2, {"loss": 0.5}, 1e-3)


@pytest.fixture
def write(tmp_path):
    def write_file(source: str, name: str = "mine.py", folder: Path = tmp_path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        return path

    return write_file


@pytest.fixture
def install(tmp_path, monkeypatch, write):
    """Install a package with one entry point, as pip would: a module and its dist-info on the path."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install_module(source: str, module: str = "third_party_kd", entry: str = "third") -> None:
        site = tmp_path / "site"
        write(source, f"{module}.py", site)
        write(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", f"{module}-1.0.dist-info/METADATA", site)
        write(f"[harness]\n{entry} = {module}\n", f"{module}-1.0.dist-info/entry_points.txt", site)
        sys.modules.pop(module, None)
        importlib.invalidate_caches()

    return install_module


def problem(*paths: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        Host.create(paths)
    return str(caught.value)


def test_in_tree_plugins_are_loaded_through_entry_points():
    host = Host.create()
    assert {"finetune", "logit_kd", "tinybert"} <= set(host.methods)
    assert all("entry point" in plugin.origin for plugin in host.plugins)


def test_order_of_methods_is_deterministic():
    assert list(Host.create().methods) == list(Host.create().methods)


def test_installed_third_party_plugin(install):
    install(METHOD + REGISTER)
    host = Host.create()
    assert host.methods["mine"].__module__ == "third_party_kd"
    (info,) = [plugin for plugin in host.plugins if plugin.name == "third"]
    assert info.methods == ["mine"]
    assert "third_party_kd" in info.origin


@pytest.fixture
def collection(write, tmp_path):
    """A package without hooks: two valid subpackages, a broken one, and modules that are not plugins."""

    def make(folder: Path) -> Path:
        write("", "collected_kd/__init__.py", folder)
        for name in ("first", "second"):
            write((METHOD + REGISTER).replace('"mine"', f'"{name}"'), f"collected_kd/{name}/__init__.py", folder)
        write("1 / 0", "collected_kd/broken/__init__.py", folder)
        for name in ("_shared/__init__.py", "tests/__init__.py", "module.py", "no_package/module.py"):
            write("raise AssertionError('not a plugin')", f"collected_kd/{name}", folder)
        return folder / "collected_kd"

    return make


def test_each_subpackage_of_an_installed_package_without_hooks_is_a_plugin(collection, install, tmp_path):
    package = collection(tmp_path / "site")
    install("", "collected_kd", "collected")
    (package.parent / "collected_kd.py").unlink()  # the fixture installs a module; the package takes its place
    host = Host.create()
    added = {plugin.name: plugin for plugin in host.plugins if "collected_kd" in plugin.origin}
    assert added.keys() == {"first", "second", "broken"}
    assert added["first"].methods == ["first"]
    assert added["first"].origin == "collected_kd.first (entry point 'collected' of collected_kd)"
    assert host.methods["second"].__module__ == "collected_kd.second"
    assert "ZeroDivisionError" in host.broken["broken"]
    assert not {"collected", "first", "second"} & host.broken.keys()


def test_broken_subpackage_of_a_named_package_is_an_error(collection, tmp_path):
    package = collection(tmp_path)
    assert f"{package / 'broken'}: cannot be imported: ZeroDivisionError" in problem(package)
    (package / "broken" / "__init__.py").unlink()
    host = Host.at([package])
    assert {plugin.name: plugin.origin for plugin in host.plugins} == {
        name: str(package / name) for name in ("first", "second")
    }


@pytest.mark.parametrize("source", [METHOD + REGISTER, "def harness_register_methods(register): ..."])
def test_a_package_that_defines_hooks_is_one_plugin(write, source):
    package = write(source, "pack/__init__.py").parent
    write("raise AssertionError('not loaded')", "pack/inner/__init__.py")
    if "@hookimpl" in source:
        assert [plugin.name for plugin in Host.at([package]).plugins] == ["pack"]
    else:
        assert "mark harness_register_methods with @hookimpl" in problem(package)


def test_file_package_and_folder_of_plugins(write, tmp_path):
    file = write(METHOD + REGISTER)
    package = write("from .inner import *\nfrom .inner import Mine\n" + REGISTER, "pack/__init__.py").parent
    write(METHOD.replace('"mine"', '"packed"'), "pack/inner.py")
    write((METHOD + REGISTER).replace('"mine"', '"foldered"'), "many/one.py")
    write("raise AssertionError('tests are no plugins')", "many/test_one.py")
    host = Host.create([file, package, str(tmp_path / "many")])
    assert {"mine", "packed", "foldered"} <= set(host.methods)


def test_duplicate_paths_are_one_plugin(write):
    file = write(METHOD + REGISTER)
    assert "mine" in Host.create([file, str(file)]).methods


def test_changed_files_are_reloaded(write):
    path = write(METHOD + REGISTER)
    Host.create([path])
    write((METHOD + REGISTER).replace('"mine"', '"renamed"'))
    assert "renamed" in Host.create([path]).methods


@pytest.mark.parametrize(
    ("hook", "value", "words"),
    [
        ("engines", "lambda plan, store: None", "engine 'mine' must take one argument, the execution; see harness.api"),
        ("trackers", "lambda: None", "tracker 'mine' must take one argument, the folder to write to"),
    ],
)
def test_functions_with_other_arguments_are_an_error(write, hook, value, words):
    source = f"""
    from harness import hookimpl
    @hookimpl
    def harness_register_{hook}(register): register("mine", {value})
    """
    assert words in problem(write(source))


@pytest.mark.parametrize("name", ["mine.py", "pack/inner.py", "pack/deeper/inner.py"])
def test_edits_that_keep_time_and_size_are_reloaded(write, tmp_path, name):
    inner = plugin = write((METHOD + REGISTER).replace('"mine"', '"one"'), name)
    if name != "mine.py":
        module = name.removeprefix("pack/").removesuffix(".py").replace("/", ".")
        write("", "pack/deeper/__init__.py")
        plugin = write(f"from .{module} import Mine, hookimpl\n" + REGISTER, "pack/__init__.py").parent
    os.utime(inner, (1, 1))
    assert "one" in Host.create([plugin]).methods
    write((METHOD + REGISTER).replace('"mine"', '"two"'), name)
    os.utime(inner, (1, 1))
    assert "two" in Host.create([plugin]).methods


@pytest.mark.parametrize("name", ["x" * 300 + ".py", "\udcff\ud800.py", "a\0b.py", "~nobody_has_this_name/x.py"])
def test_invalid_paths(name):
    assert "is not a valid path" in problem(name)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("@hookimpl\ndef harness_register_method(register): ...", ["harness_register_method'", "did you mean"]),
        ("@hookimpl\ndef harness_step(events): ...", ["harness_step", "'events'", "did you mean 'event'"]),
        ("@hookimpl\ndef harness_step(event): yield", ["harness_step", "hook wrappers"]),
        ("", ["no hook is implemented", "@hookimpl"]),
        ("def harness_register_methods(register): ...", ["mark harness_register_methods with @hookimpl"]),
        ("@hookimpl\ndef harness_register_methods(register): 1 / 0", ["harness_register_methods", "ZeroDivision"]),
        (
            "from harness import UserError\n@hookimpl\ndef harness_register_tasks(register): raise UserError('none')",
            ["harness_register_tasks failed: none"],
        ),
        ("@hookimpl\ndef harness_register_methods(register): register(dict)", ["class dict", "harness.Method"]),
        ("@hookimpl\ndef harness_register_methods(register): register('x')", ["str 'x'", "harness.Method"]),
        ("@hookimpl\ndef harness_register_tasks(register): register({})", ["dict '{}'", "Task"]),
        (TASK.replace("load=print", "load=lambda: None"), ["task 'mood': load cannot be called as load(source)"]),
        (TASK.replace("load=print", "load=3"), ["task 'mood': load is int '3'; expected a function of the source"]),
        (TASK.replace("load=print", "load=print, files=3"), ["task 'mood': files is int '3'; expected a function"]),
        (TASK.replace("mood", "gap"), ["task 'gap'", "reserved", "also reserved: assistant, average, gap_closed, iqm"]),
        ("@hookimpl\ndef harness_register_metrics(register): register('f', 3)", ["'f'", "is not callable"]),
        ("@hookimpl\ndef harness_register_metrics(register): register('a/b', int)", ["'a/b'", "letters"]),
        ("class Bare(Mine): name = 'a b'\n" + REGISTER.replace("Mine", "Bare"), ["Bare", "'a b'", "letters"]),
        ("del Mine.name" + REGISTER, ["Mine", "no `name`"]),
        ("class Half(Method): name = 'half'\n" + REGISTER.replace("Mine", "Half"), ["Half", "losses and stages"]),
        ("Mine.Config = dict" + REGISTER, ["Config", "class dict", "MethodConfig"]),
        ("class C(MethodConfig): t: int\nMine.Config = C" + REGISTER, ["default", "Config()", " t"]),
        ("class C(MethodConfig): grid: int = 1\nMine.Config = C" + REGISTER, ["'grid'", "reserve"]),
        ("class C(MethodConfig): t: int = 1\nMine.Config = C" + REGISTER, ["Mine", "no description of 't'", "Field("]),
        ("Mine.min_teachers = 2" + REGISTER, ["min_teachers 2", "max_teachers 1"]),
        (
            "Mine.losses = lambda self, batch, student, teachers: {}" + REGISTER,
            ["losses(self, batch, student, teachers) cannot be called as losses(step, batch, student, teachers)"],
        ),
        ("Mine.weights = lambda self: {}" + REGISTER, ["weights(self) cannot be called as weights(step)"]),
        ("Mine.check = staticmethod(lambda task: [])" + REGISTER, ["check(task) cannot be called as check(task, stu"]),
        ("Mine.stages = property(lambda self: [])" + REGISTER, ["stages is a property; it must be a function"]),
        (
            "def losses(self, step, batch, student, teachers): yield\nMine.losses = losses" + REGISTER,
            ["losses is a generator; it must return its result"],
        ),
        ("def broken(:", ["SyntaxError"]),
        ("import no_such_module", ["ModuleNotFoundError", "no_such_module"]),
        ("raise SystemExit(3)", ["SystemExit"]),
        (REGISTER.replace("register(Mine)", "register(Mine); register(Mine)"), ["duplicate method 'mine'"]),
    ],
)
def test_invalid_plugins_are_reported_with_their_file(write, source, words):
    path = write(METHOD + source)
    message = problem(path)
    assert str(path) in message
    for word in words:
        assert word in message


def test_import_error_names_the_line(write):
    path = write("x = 1\nimport no_such_module\n")
    assert f"{path}:2: " in problem(path)
    path = write("x = 1\n\ndef broken(:\n", "syntax.py")
    assert f"{path}:3: " in problem(path)


def test_missing_path_suggests_a_similar_name(write, tmp_path):
    write("", "distil.py")
    assert "did you mean 'distil.py'?" in problem(tmp_path / "distill.py")


def test_paths_without_plugins(write, tmp_path):
    assert "expected a .py file" in problem(write("", "plugin.txt"))
    (tmp_path / "empty").mkdir()
    assert "no plugin in this folder" in problem(tmp_path / "empty")


def test_all_plugins_are_checked_at_once(write):
    message = problem(write("import no_such_a", "a.py"), write("import no_such_b", "b.py"))
    assert "no_such_a" in message
    assert "no_such_b" in message


def test_duplicate_method_names_report_both_origins(write):
    first, second = write(METHOD + REGISTER, "first.py"), write(METHOD + REGISTER, "second.py")
    message = problem(first, second)
    assert "method 'mine'" in message
    assert str(first) in message
    assert str(second) in message


FINETUNE = "harness_baselines.finetune (entry point 'harness_baselines' of kd-harness)"


def named(source: str, name: str) -> str:
    return (METHOD + source).replace('"mine"', f'"{name}"')


def infos(host: Host, name: str) -> list[PluginInfo]:
    return [plugin for plugin in host.plugins if plugin.name == name]


@pytest.mark.parametrize("entry", ["aaa", "third", "harness_baselines"])
def test_a_shipped_method_comes_before_a_guest_of_the_same_name(install, entry):
    install(named(REGISTER, "finetune"), entry=entry)
    host = Host.create()
    assert host.methods["finetune"].__module__ == "harness_baselines.finetune"
    assert host.origin_of("method", "finetune") == FINETUNE
    (info,) = [plugin for plugin in host.plugins if "third_party_kd" in plugin.origin]
    assert info.origin == f"entry point {entry!r} of third_party_kd"
    assert info.left_out == [f"method 'finetune' is left out: {FINETUNE} registers it, too"]
    assert (info.methods, info.error, info.overridden) == ([], None, [])


def test_a_guest_keeps_what_no_other_plugin_registers(install):
    install(named(REGISTER, "finetune") + TASK)
    host = Host.create()
    assert host.tasks["mood"].labels == ("bad", "good")
    (info,) = infos(host, "third")
    assert (info.tasks, info.methods, len(info.left_out)) == (["mood"], [], 1)


def test_hooks_of_a_guest_that_is_left_out_are_not_called(install):
    validates = "\n@hookimpl\ndef harness_validate_suite(suite): return [1 / 0]\n"
    install(named(REGISTER, "finetune") + validates)
    assert Host.create().hook.harness_validate_suite.get_hookimpls() == []
    install(METHOD + REGISTER + validates)
    assert len(Host.create().hook.harness_validate_suite.get_hookimpls()) == 1


def test_of_two_guests_the_first_entry_point_provides_the_method(install):
    install(METHOD + REGISTER, "first_kd", "a")
    install(METHOD + REGISTER, "second_kd", "b")
    host = Host.create()
    assert host.methods["mine"].__module__ == "first_kd"
    (second,) = infos(host, "b")
    assert second.left_out == ["method 'mine' is left out: entry point 'a' of first_kd registers it, too"]


def test_a_path_overrides_what_is_installed(install, write):
    install(METHOD + REGISTER + TASK)
    path = write(METHOD + REGISTER)
    host = Host.create([path])
    assert host.origin_of("method", "mine") == str(path)
    assert host.methods["mine"].__module__.startswith("harness_plugin_mine")
    (info,) = infos(host, "third")
    assert info.overridden == [f"method 'mine' is overridden by {path}"]
    assert (info.methods, info.tasks, info.left_out) == ([], ["mood"], [])
    assert host.origin_of("task", "mood") == "entry point 'third' of third_party_kd"


def test_a_path_overrides_a_shipped_method(write):
    path = write(named(REGISTER, "finetune"))
    host = Host.create([path])
    assert host.origin_of("method", "finetune") == str(path)
    assert {"logit_kd", "pkd"} <= host.methods.keys()


def test_an_installed_plugin_is_left_out_if_its_own_file_is_named(install, tmp_path):
    install("from harness import hookimpl\n@hookimpl\ndef harness_step(event): ...")
    path = tmp_path / "site" / "third_party_kd.py"
    host = Host.create([path])
    (implementation,) = host.hook.harness_step.get_hookimpls()
    assert implementation.plugin_name == str(path)
    (info,) = infos(host, "third")
    assert info.overridden == [f"all of it is overridden by {path}, the same file"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "@hookimpl\ndef harness_register_methods(register): raise SystemExit(3)",
            "methods failed: SystemExit",
        ),
        (
            "import pydantic\nclass C(MethodConfig): x: int = pydantic.Field(default_factory=lambda: 1 / 0)\n"
            "Mine.Config = C" + REGISTER,
            "cannot be checked: ZeroDivisionError",
        ),
        ("class Odd:\n    def __dir__(self): 1 / 0\nplugin = Odd()", "it cannot be inspected: ZeroDivisionError"),
        (
            REGISTER.replace("register(Mine)", "register(Mine); register(Mine)"),
            "registered twice by entry",
        ),
    ],
)
def test_no_fault_of_a_guest_stops_the_host(install, source, words, tmp_path):
    install(METHOD + source)
    if "plugin =" in source:
        (tmp_path / "site" / "third_party_kd-1.0.dist-info" / "entry_points.txt").write_text(
            "[harness]\nthird = third_party_kd:plugin\n"
        )
    host = Host.create()
    assert words in host.broken["third"]
    assert "finetune" in host.methods


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("x = 1\ndef broken(:\n", 2, "SyntaxError"),
        ("x = 1\n\nimport no_such_module\n", 3, "ModuleNotFoundError"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
    ],
)
def test_an_entry_point_that_cannot_be_imported_is_reported_with_file_and_line(install, tmp_path, source, line, words):
    install(source)
    error = Host.create().broken["third"]
    assert words in error
    assert f"({tmp_path / 'site' / 'third_party_kd.py'}:{line})" in error


def test_a_syntax_error_in_a_subpackage_is_reported_with_file_and_line(collection, install, tmp_path):
    package = collection(tmp_path / "site")
    install("", "collected_kd", "collected")
    (package.parent / "collected_kd.py").unlink()
    file = package / "broken" / "__init__.py"
    file.write_text("from . import inner")
    (package / "broken" / "inner.py").write_text("ok = 1\nx = (")
    assert f"({package / 'broken' / 'inner.py'}:2)" in Host.create().broken["broken"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            'harness_api = "2"',
            "harness_api = '2', but kd-harness 0.1.0 provides '1'; install a newer kd-harness",
        ),
        ('harness_api = "0"', "install a version of the plugin for this interface"),
        ("harness_api = 1", "harness_api is 1; it must be a string"),
    ],
)
def test_another_version_of_the_interface_is_an_error(write, install, statement, words):
    assert words in problem(write(f"{statement}\n" + METHOD + REGISTER))
    install(f"{statement}\n" + METHOD + REGISTER)
    assert words in Host.create().broken["third"]


def test_a_plugin_that_cannot_be_imported_still_states_its_version(write, install):
    source = 'harness_api = "2"\nfrom harness import NotYetThere\n'
    words = "it states harness_api = '2'"
    assert words in problem(write(source))
    install(source)
    assert words in Host.create().broken["third"]


def test_a_collection_states_the_version_for_its_subpackages(collection, install, tmp_path):
    package = collection(tmp_path)
    (package / "__init__.py").write_text('harness_api = "2"')
    message = problem(package)
    assert "it states harness_api = '2'" in message
    assert "ZeroDivisionError" not in message, "its subpackages are not imported"


@pytest.mark.parametrize(
    "source",
    [
        "def check(self, *models, **more): yield\nMine.check = check",
        "Mine.check = lambda self, task, student, teachers, strict=False: []",
        "Mine.stages = classmethod(lambda cls: [])",
        "Mine.weights = staticmethod(lambda step: {})",
    ],
)
def test_members_may_have_any_signature_that_the_host_can_call(write, source):
    assert "mine" in Host.at([write(METHOD + source + REGISTER)]).methods


def test_the_stated_version_of_this_interface_is_accepted(write):
    assert "mine" in Host.create([write('harness_api = "1"\n' + METHOD + REGISTER)]).methods


def test_broken_installed_plugin_does_not_affect_others(install):
    install("import no_such_module")
    host = Host.create()
    assert "no_such_module" in host.broken["third"]
    assert "finetune" in host.methods


def test_plugin_with_one_problem_is_not_registered_at_all(install):
    install(METHOD + REGISTER + "\n@hookimpl\ndef harness_register_tasks(register): register(1)\n")
    host = Host.create()
    assert "third" in host.broken
    assert "mine" not in host.methods


class Observer:
    def __init__(self, fails: bool) -> None:
        self.fails, self.events = fails, []

    @hookimpl
    def harness_step(self, event):
        self.events.append(event)
        if self.fails:
            raise ValueError("observer is broken")


def test_observer_exceptions_are_logged_once_and_not_raised(caplog):
    host = Host.create()
    first, bad, last = Observer(False), Observer(True), Observer(False)
    for observer in (first, bad, last):
        host.add_observer(observer)
    with caplog.at_level(logging.WARNING, "harness"):
        host.notify("harness_step", STEP)
        host.notify("harness_step", STEP)
    assert first.events == last.events == bad.events == [STEP, STEP]
    (record,) = caplog.records
    assert "harness_step failed in the observer Observer (2): ValueError: observer is broken" in record.getMessage()


def test_observer_with_a_misspelled_hook():
    class Wrong:
        @hookimpl
        def harness_steps(self, event): ...

    with pytest.raises(UserError, match="did you mean 'harness_step'"):
        Host.create().add_observer(Wrong())
