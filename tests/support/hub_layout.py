"""Data sets of a few rows in the hub's layout: a README.md that names the configs, and parquet files for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

GLUE = {
    "cola": ["sentence"],
    "sst2": ["sentence"],
    "mrpc": ["sentence1", "sentence2"],
    "stsb": ["sentence1", "sentence2"],
    "qqp": ["question1", "question2"],
    "mnli": ["premise", "hypothesis"],
    "qnli": ["question", "sentence"],
    "rte": ["sentence1", "sentence2"],
    "wnli": ["sentence1", "sentence2"],
    "ax": ["premise", "hypothesis"],
}
"""Each config's columns of text on the hub."""


def write_dataset(folder: Path, configs: Mapping[str, Mapping[str, pd.DataFrame]]) -> Path:
    """Write each config's splits."""
    listed = []
    for name, splits in configs.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            rows.to_parquet(folder / name / f"{split}-00000-of-00001.parquet", index=False)
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        listed.append({"config_name": name, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n", encoding="utf-8")
    return folder


def squad_rows(*questions: tuple[str, str, str, list[str]]) -> pd.DataFrame:
    """(id, question, context, right answers) each, in the columns of SQuAD; answers are looked up in the context."""
    return pd.DataFrame(
        [
            {
                "id": id,
                "title": "A title",
                "context": context,
                "question": question,
                "answers": {"text": answers, "answer_start": [context.index(answer) for answer in answers]},
            }
            for id, question, context, answers in questions
        ]
    )
