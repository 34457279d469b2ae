"""What a user asks of `harness distill`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.tasks.tabular.table_files import FileOptions


@dataclass(frozen=True)
class Request:
    """A teacher, data and limits.

    Attributes:
        teacher: hub id or folder of a fine-tuned classifier or regression, or of an encoder, which is then fine-tuned.
        data: a file or folder of labelled texts.
        folder: where suites, results and the model are written.
        name: of the task and of the suites.
        encoding, delimiter: of text files; None: the delimiter of the suffix.
        quoting: whether ``"..."`` encloses cells of CSV and TSV files.
        text, text_pair, label: columns of the data; None: guessed from their names. An empty `text_pair`: single texts.
        classes: value of the label column -> name of its class, where the teacher has other names.
        separator: text between several labels in a cell, for teachers that predict several; None: the cell is a list.
        validation: a file of examples to score, or the share of `data` that is held out for it.
        max_length: tokens of a text, for students and teacher; longer texts are truncated. Fewer if the teacher reads
            fewer.
        methods: the methods to compare; empty: those of the template.
        plugins: .py files or folders of methods.
        trust_remote_code: whether to run Python code contained in the teacher's folder or repository.
        max_seconds: largest median latency of one text on this machine.
        max_parameters: largest number of parameters.
        budget: seconds of training, approximately.
        seeds: seeds of the last rung.
    """

    teacher: str
    data: str
    folder: Path
    name: str
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: bool = True
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    validation: str | float = 0.2
    max_length: int = 128
    methods: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    trust_remote_code: bool = False
    max_seconds: float | None = None
    max_parameters: int | None = None
    budget: float = 1800.0
    seeds: tuple[int, ...] = (1, 2, 3)

    @property
    def files(self) -> FileOptions:
        """How its files are read."""
        return FileOptions(encoding=self.encoding, delimiter=self.delimiter, quoting=self.quoting)

    @property
    def results(self) -> Path:
        """The results folder of its suites."""
        return self.folder / "results"

    @property
    def model(self) -> Path:
        """The folder of the exported model."""
        return self.folder / "model"
