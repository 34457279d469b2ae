"""A plan is executed in another process, with a method from a plugin file."""

import sys
from pathlib import Path

from harness.execution import local_engine, portable_plan
from harness.execution.plan_execution import PlanExecution
from harness.storage.store import Store
from tests.support.forked_commands import ForkedCommand

METHOD = """
from harness import Method, Needs, Stage, hookimpl
from harness.api import losses


class FileKD(Method):
    name = "file_kd"

    def stages(self):
        return [Stage("train", Needs({"logits"}, [{"logits"}]))]

    def losses(self, step, batch, student, teachers):
        return {"kd": losses.kl_loss(student.logits, teachers[0].logits, batch, 2.0)}


@hookimpl
def harness_register_methods(register):
    register(FileKD)
"""


def execute() -> int:
    """Execute the pickled plan that `sys.argv` names, in a process that has not loaded its plugin."""
    payload, folder = sys.argv[1:]
    assert not [name for name in sys.modules if "file_kd" in name]
    plan, host = portable_plan.load(Path(payload).read_bytes())
    return len(PlanExecution(plan, Store(Path(folder)), host).run(local_engine.execute).failed)


def test_a_plan_with_a_method_from_a_plugin_file_runs_in_another_process(small, tmp_path):
    plugin = tmp_path / "file_kd.py"
    plugin.write_text(METHOD, encoding="utf-8")
    settings, plugins = ("methods=[logit_kd, file_kd]", "seeds=[1]"), (str(plugin),)
    loaded = small.load(*settings, plugins=plugins)
    plan = small.plan(*settings, plugins=plugins)
    payload = tmp_path / "plan.pickle"
    payload.write_bytes(portable_plan.dump(plan, loaded.host))
    elsewhere = tmp_path / "elsewhere"
    process = ForkedCommand([str(payload), str(elsewhere)], tmp_path, main=execute)
    assert process.wait() == 0, process.errors
    assert not small.run(*settings, plugins=plugins).failed
    here = {record.key: record for record in small.store().records()}
    there = {record.key: record for record in Store(elsewhere).records()}
    assert here.keys() == there.keys()
    assert {record.method for record in there.values()} == {"logit_kd", "file_kd"}
    assert all(there[key].losses == record.losses for key, record in here.items())
