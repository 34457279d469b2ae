"""The table of encoder families in docs/encoders.md, from tiny random models.

``python -m tests.support.encoder_table`` rewrites it. That takes a minute, as every family is exported to ONNX.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from tabulate import tabulate

from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.api.method import Method, TaskInfo
from harness.api.task import Task
from harness.config.student_schema import StudentSpec
from harness.latency.onnx import OnnxProgram, export
from harness.models import students
from harness.models.available_heads import has_head
from harness.models.capture import Capture
from harness.models.families import shape
from harness.models.introspection import find_parts
from harness.models.quiet_transformers import quiet_transformers
from harness.plugin_host.host import Host
from harness.resolution.stage_checks import check_needs
from harness.testing import tiny_batch
from harness.testing.term_evaluation import StepPosition, evaluate_terms
from tests.support.encoder_families import SETTINGS, tiny_encoder

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
START, END = "<!-- generated table -->\n", "<!-- end of the generated table -->\n"
HEADERS = ("family", "`model_type`", "teacher gives", "layers are copied", "other sizes", "heads", "methods", "ONNX")
TASK = Task("tiny", "classification", load=lambda source: None, metrics=(), score="", labels=("no", "yes"))
KINDS = {"classification": "sequence", "token_classification": "token", "qa": "qa", "text": "masked LM"}
LAYERS = 4
YES, NO = "yes", "–"


def row(family: str, *, onnx: str | None = None) -> tuple[str, ...]:
    """The cells of a family. `onnx`: the content of the last column; None: export a model."""
    teacher = tiny_encoder(family, layers=LAYERS)
    missing = Capture(teacher).parts.missing
    copied = _works(lambda: _student(StudentSpec(layers=2, init="uniform"), teacher))
    smaller = _works(lambda: _student(StudentSpec(layers=3, hidden=48, heads=6, ffn=40), teacher))
    return (
        family,
        f"`{SETTINGS[family][0]}`",
        _given(missing),
        copied,
        smaller,
        _heads(family),
        _methods(family, missing),
        _onnx(tiny_encoder(family, layers=1)) if onnx is None else onnx,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown."""
    return tabulate(rows, HEADERS, tablefmt="github") + "\n"


def committed() -> Mapping[str, tuple[str, ...]]:
    """Family -> its cells in docs/encoders.md."""
    text = PAGE.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().split("\n")]
    return {cells[0]: tuple(cells) for cells in lines[2:]}


def _works(build: Callable[[], object]) -> str:
    try:
        build()
    except UserError:
        return NO
    return YES


def _student(spec: StudentSpec, teacher: torch.nn.Module) -> None:
    """Build a student and train it for one step's gradients."""
    student = students.build(spec, name="s", task=TASK, teacher=teacher, checkpoint=None, seed=1)
    batch = Batch.from_mapping(tiny_batch("classification", num_labels=2))
    loss = Capture(student).run(batch.inputs, {"logits"}).logits.square().sum()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def _given(missing: frozenset[str]) -> str:
    groups = {"logits": "logits", "hidden": "hidden", "queries": "Q/K/V", "context": "context", "scores": "scores"}
    return ", ".join(label for name, label in groups.items() if name not in missing)


def _heads(family: str) -> str:
    """The heads that are used for the family, each of which runs."""
    kinds = [kind for kind in KINDS if has_head(SETTINGS[family][0], kind)]
    for kind in kinds:
        find_parts(tiny_encoder(family, kind=kind, layers=1))
    return ", ".join(KINDS[kind] for kind in kinds)


def _methods(family: str, missing: frozenset[str]) -> str:
    methods = Host.create().methods
    refused = [name for name in sorted(methods) if _is_refused(methods[name], family, missing)]
    for name in sorted(EVALUATED.difference(refused)):
        _check_gradients(methods[name], family, missing)
    return "all" if not refused else f"all but {', '.join(refused)}"


INFO = TaskInfo("tiny", "classification", 2, examples=64)

EVALUATED = frozenset({"tinybert", "minilm", "mlkd_bert", "pkd", "theseus", "ad_kd"})
"""Methods that read every output between them, replace layers, and differentiate twice."""


@cache
def _models(family: str, teachers: int) -> tuple[Capture, ...]:
    """A student and its teachers."""
    sizes = [(2, 1), *((LAYERS, 2 + i) for i in range(teachers))]
    return tuple(Capture(tiny_encoder(family, layers=layers, seed=seed)) for layers, seed in sizes)


def _bound(method: type[Method], family: str, missing: frozenset[str]) -> Method:
    models = _models(family, method.min_teachers)
    student, *teachers = (replace(shape(capture.model.config, "model"), missing=missing) for capture in models)
    return method(method.Config(), task=INFO, student=student, teachers=teachers, seed=1)


def _is_refused(method: type[Method], family: str, missing: frozenset[str]) -> bool:
    bound = _bound(method, family, missing)
    if bound.check(INFO, bound.student, bound.teachers):
        return True
    return any(check_needs(stage, INFO, bound.student, bound.teachers) for stage in bound.stages())


def _check_gradients(method: type[Method], family: str, missing: frozenset[str]) -> None:
    """Every stage of a method has finite terms whose gradients reach the student."""
    bound = _bound(method, family, missing)
    student, *teachers = _models(family, method.min_teachers)
    batch = Batch.from_mapping(tiny_batch("classification", num_labels=2))
    for stage in bound.stages():
        generator = torch.Generator().manual_seed(0)
        position = StepPosition(0, 10, 2.0)
        evaluated = evaluate_terms(bound, stage, batch, student, teachers, progress=position, generator=generator)
        loss = torch.stack([*evaluated.terms.values()]).sum()
        student.model.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in student.model.parameters() if p.grad is not None]
        assert torch.isfinite(loss), f"{method.name}, {family}"
        assert gradients, f"{method.name}, {family}"
        assert all(torch.isfinite(gradient).all() for gradient in gradients), f"{method.name}, {family}"


def _onnx(model: torch.nn.Module) -> str:
    """Whether ONNX Runtime gives the logits of the model, on a batch of another size than that of the export."""
    batches = [tiny_batch("classification", batch=count, length=length) for count, length in ((2, 12), (3, 16))]
    example, other = [{name: batch[name] for name in ("input_ids", "attention_mask")} for batch in batches]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            with quiet_transformers():
                export(model, example, path)
            (logits, *_) = OnnxProgram(path, torch.device("cpu")).bind(other)()
        except Exception:  # the exporter and the runtime raise any kind of exception for operations they do not support
            return NO
    with torch.no_grad():
        expected = model(**other).logits
    return YES if torch.allclose(torch.as_tensor(logits), expected, atol=1e-4) else "wrong"


def main() -> None:
    """Rewrite the table in docs/encoders.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}{table([row(family) for family in SETTINGS])}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
