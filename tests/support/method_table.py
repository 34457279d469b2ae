"""The table of methods in docs/methods.md: descriptions by hand, and what the methods' code says.

``python -m tests.support.method_table`` rewrites it.
"""

import csv
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from harness.api.batch import TaskKind
from harness.api.method import Method, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.models.output_names import parse
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.resolution.stage_checks import check_needs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods.md"
START, END = "<!-- generated table -->\n", "<!-- end of the generated table -->\n"
BOARD = ROOT / "results" / "all-methods" / "leaderboard.csv"
HEADERS = (
    "method", "what is compared", "stages", "teachers", "reads", "needs", "kinds", "cost", "source", "basis", "also in",
)  # fmt: skip
NOTHING = "–"

STUDENT = ModelShape("student", layers=6, hidden=768, heads=12, ffn=3072)
TEACHER = ModelShape("teacher", layers=12, hidden=768, heads=12, ffn=3072)
OTHER_SIZES = {"equal width": {"hidden": 384}, "equal heads": {"heads": 6}, "depth divides": {"layers": 5}}
"""Requirement -> sizes of a student that does not meet it."""
LABELS: Mapping[TaskKind, int] = {
    "classification": 3,
    "multilabel": 3,
    "regression": 1,
    "token_classification": 3,
    "qa": 2,
}
UNALIGNED = {"scores", "queries", "keys", "values", "context"}
"""Outputs that cannot be aligned between tokenizers."""


@dataclass(frozen=True)
class Description:
    """What the code of a method does not say.

    Attributes:
        compared: what student and teacher are compared in.
        source: the paper, with the year of its publication.
        basis: what the method was written from, strongest first: P, A, G, R, M; see docs/methods.md.
        also_in: GLMKD, TextBrewer, torchdistill, as far as their public documentation or code says.
    """

    compared: str
    source: str
    basis: str
    also_in: str = NOTHING


def _arxiv(number: str) -> str:
    return f"[{number}](https://arxiv.org/abs/{number})"


DESCRIPTIONS = {
    "finetune": Description("nothing: labels only", NOTHING, NOTHING, "GLMKD, TextBrewer, torchdistill"),
    "logit_kd": Description(
        "predictions", f"Hinton et al. 2015, {_arxiv('1503.02531')}", "P", "GLMKD, TextBrewer, torchdistill"
    ),
    "pkd": Description(
        "predictions; directions of [CLS] by layer",
        f"Sun et al. 2019, {_arxiv('1908.09355')}",
        "P A",
        "GLMKD, TextBrewer (loss `pkd`)",
    ),
    "distilbert": Description(
        "on text: predicted tokens, directions of the last hidden states; on a task: labels",
        f"Sanh et al. 2019, {_arxiv('1910.01108')}",
        "P A",
        "GLMKD",
    ),
    "tinybert": Description(
        "attention scores, hidden states, embeddings; then predictions",
        f"Jiao et al. 2020, {_arxiv('1909.10351')}",
        "P A",
        "GLMKD, TextBrewer (losses `attention_mse`, `hidden_mse`)",
    ),
    "minilm": Description(
        "relations of queries, keys and values of one layer; then labels",
        f"Wang et al. 2020, {_arxiv('2002.10957')}; 2021, {_arxiv('2012.15828')}",
        "P R",
        "GLMKD",
    ),
    "mlkd_bert": Description(
        "relations of tokens, hidden states; then relations of examples, predictions",
        f"Zhang et al. 2024, {_arxiv('2407.02775')}",
        "P",
    ),
    "mt_bert": Description(
        "predictions and hidden states of several teachers, weighted by how right each is",
        f"Wu et al. 2021, {_arxiv('2106.01023')}",
        "P",
        "GLMKD",
    ),
    "dist": Description(
        "correlations of predictions over classes and over examples",
        f"Huang et al. 2022, {_arxiv('2205.10536')}",
        "A",
        "torchdistill",
    ),
    "dkd": Description(
        "predictions, split into the label's class against the others and the others among each other",
        f"Zhao et al. 2022, {_arxiv('2203.08679')}",
        "A R",
    ),
    "ckd": Description(
        "predictions; cosines and angles between words and between layers",
        f"Park et al. 2021, {_arxiv('2109.08359')}",
        "A G",
        "GLMKD",
    ),
    "alp_kd": Description(
        "predictions; [CLS] by layer with mixtures of teacher layers",
        f"Passban et al. 2021, {_arxiv('2012.14022')}",
        "G R M",
        "GLMKD",
    ),
    "avg_mt": Description(
        "predictions of several teachers, equal weights",
        f"Hinton et al. 2015, {_arxiv('1503.02531')}",
        "G M",
        "GLMKD (for TMKD), TextBrewer (`MultiTeacherDistiller`)",
    ),
    "dynamic_kd": Description(
        "predictions, or predictions and hidden states; the student's uncertainty chooses teacher, data or objective",
        f"Li et al. 2021, {_arxiv('2109.11295')}",
        "A G",
        "GLMKD (part `adopt`)",
    ),
    "fitnets": Description(
        "hidden states of a middle layer; then predictions",
        f"Romero et al. 2015, {_arxiv('1412.6550')}",
        "M",
        "TextBrewer (loss `hidden_mse`), torchdistill",
    ),
    "ted": Description(
        "labels; then labels through a filter of each layer; then filtered hidden states, predictions",
        f"Liang et al. 2023, {_arxiv('2210.01351')}",
        "A M",
    ),
    "bert_emd": Description(
        "attention scores and hidden states of all pairs of layers, by optimal transport; embeddings, predictions",
        f"Li et al. 2020, {_arxiv('2010.06133')}",
        "A",
        "TextBrewer (`EMDDistiller`, after 0.2.1)",
    ),
    "mgskd": Description(
        "pairs and triangles of tokens, spans and examples; then predictions",
        f"Liu et al. 2022, {_arxiv('2203.14940')}",
        "A G",
        "GLMKD",
    ),
    "rail_kd": Description(
        "predictions; pooled hidden states of randomly drawn layers",
        f"Haidar et al. 2022, {_arxiv('2109.10164')}",
        "G R M",
        "GLMKD",
    ),
    "annealing_kd": Description(
        "logits with a falling temperature; then labels", f"Jafari et al. 2021, {_arxiv('2104.07163')}", "R G", "GLMKD"
    ),
    "continuation_kd": Description(
        "logits, with a margin that changes over time; labels",
        f"Jafari et al. 2022, {_arxiv('2212.05998')}",
        "P G",
        "GLMKD",
    ),
    "codir": Description(
        "predictions; hidden states by contrast with a memory of other examples",
        f"Sun et al. 2020, {_arxiv('2009.14167')}",
        "A M",
    ),
    "sid": Description(
        "attention and [CLS] layer by layer; then predictions",
        f"Aguilar et al. 2020, {_arxiv('1910.03723')}",
        "G R M",
        "GLMKD",
    ),
    "takd": Description(
        "predictions of an assistant, which learnt from the teacher",
        f"Mirzadeh et al. 2020, {_arxiv('1902.03393')}",
        "A G",
        "GLMKD",
    ),
    "dgkd": Description(
        "predictions of teacher and assistants, randomly dropped",
        f"Son et al. 2021, {_arxiv('2009.08825')}",
        "A G",
        "GLMKD",
    ),
    "theseus": Description(
        "nothing: student layers replace teacher layers at random",
        f"Xu et al. 2020, {_arxiv('2002.02925')}",
        "A G",
        "GLMKD",
    ),
    "ad_kd": Description(
        "predictions; attributions of the predictions to the input", f"Wu et al. 2023, {_arxiv('2305.10010')}", "A"
    ),
    "lrc_bert": Description(
        "hidden states by contrast with other examples; then predictions",
        f"Fu et al. 2021, {_arxiv('2012.07335')}",
        "G R M",
        "GLMKD",
    ),
    "diito": Description(
        "predictions and hidden states, also after an interchange of states between examples",
        f"Wu et al. 2022, {_arxiv('2112.02505')}",
        "A G",
        "GLMKD",
    ),
    "rl_kd": Description(
        "predictions of teachers that a policy chooses", f"Yuan et al. 2021, {_arxiv('2012.06048')}", "G R M", "GLMKD"
    ),
    "glmd": Description(
        "predicted tokens on text; then predictions", f"Tan et al. 2023, {_arxiv('2306.06625')}", "A", "GLMKD"
    ),
    "rdrop": Description(
        "two predictions of the student with different dropout", f"Liang et al. 2021, {_arxiv('2106.14448')}", "P A"
    ),
    "temporal_ensembling": Description(
        "predictions with their moving average over epochs", f"Laine and Aila 2017, {_arxiv('1610.02242')}", "P"
    ),
    "matches": Description(
        "what its options name",
        NOTHING,
        NOTHING,
        "TextBrewer (`intermediate_matches`), torchdistill (configured losses)",
    ),
}
"""By name; also of methods that are not installed everywhere."""


def row(name: str) -> tuple[str, ...]:
    """The cells of a method."""
    cls, description = Host.create().methods[name], DESCRIPTIONS[name]
    return (
        _link(cls),
        description.compared,
        _stages(cls),
        _teachers(cls),
        _reads(cls),
        _needs(cls),
        _kinds(cls),
        _cost(name),
        description.source,
        description.basis,
        description.also_in,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown."""
    return tabulate(rows, HEADERS, tablefmt="github") + "\n"


def committed() -> Mapping[str, tuple[str, ...]]:
    """Method -> its cells in docs/methods.md."""
    text = PAGE.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().split("\n")]
    return {cells[0].split("]")[0].strip("["): tuple(cells) for cells in lines[2:]}


def _cost(name: str) -> str:
    """Seconds of the method's students on the committed board, divided by those of logit_kd."""
    with BOARD.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "student"]
    seconds = {row["label"]: float(row["student_seconds"]) for row in rows if row["student"] == "2x64"}
    return f"{seconds[name] / seconds['logit_kd']:.1f}" if name in seconds else NOTHING


def _link(cls: type[Method]) -> str:
    folder = Path(inspect.getfile(cls)).parent.relative_to(ROOT)
    return f"[{cls.name}](../{folder.as_posix()}/README.md)"


def _bound(cls: type[Method], kind: TaskKind = "classification", student: ModelShape = STUDENT) -> Method:
    count = 0 if cls.max_teachers == 0 else max(1, cls.min_teachers)
    task = TaskInfo("task", kind, LABELS[kind])
    return cls(cls.Config(), task=task, student=student, teachers=[TEACHER] * count, seed=1)


def _refused(method: Method) -> bool:
    if method.check(method.task, method.student, method.teachers):
        return True
    return any(check_needs(stage, method.task, method.student, method.teachers) for stage in method.stages())


def _stages(cls: type[Method]) -> str:
    names = [stage.name for stage in _bound(cls).stages()]
    general = _bound(cls).general() if has_text_stage(cls) else None
    text = [f"{general.stage.name} (text)"] if general else []
    return ", ".join([*text, *names])


def _teachers(cls: type[Method]) -> str:
    least, most = cls.min_teachers, cls.max_teachers
    if least == most:
        return str(least)
    return f"{least} or more" if most is None else f"{least} to {most}"


def _read_outputs(cls: type[Method]) -> list[str]:
    """The outputs of teachers that the stages on a task read, and that of a text stage."""
    method = _bound(cls)
    general = method.general() if has_text_stage(cls) else None
    stages = [*([general.stage] if general else []), *method.stages()]
    return [parse(output).name for stage in stages for names in stage.needs.teachers for output in sorted(names)]


def _reads(cls: type[Method]) -> str:
    return ", ".join(sorted(set(_read_outputs(cls)))) or NOTHING


def _needs(cls: type[Method]) -> str:
    required = [what for what, sizes in OTHER_SIZES.items() if _refused(_bound(cls, student=replace(STUDENT, **sizes)))]
    live = any(stage.live for stage in _bound(cls).stages())  # its teachers run on the student's tokens
    if UNALIGNED & {*_read_outputs(cls)} or (live and cls.max_teachers != 0):
        required.append("same tokenizer")
    return ", ".join(required) or NOTHING


def _kinds(cls: type[Method]) -> str:
    kinds = [kind for kind in LABELS if not _refused(_bound(cls, kind))]
    return "all" if len(kinds) == len(LABELS) else ", ".join(kinds)


def main() -> None:
    """Rewrite the table in docs/methods.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    installed = Host.create().methods
    rows = [row(name) for name in DESCRIPTIONS if name in installed]
    PAGE.write_text(f"{before}{START}{table(rows)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
