"""Keys of a small suite, pinned: a changed key discards results, so it must be intentional.

If a change is meant to alter results, raise a VERSION in `harness.training` or of the method, and write the file anew:
``UPDATE_GOLDEN=1 python -m pytest tests/planning/test_golden_keys.py``.
"""

import json
import os
from pathlib import Path

import torch

GOLDEN = Path(__file__).with_name("golden_keys.json")
SETTINGS = ("methods=[finetune, logit_kd, tinybert, minilm, mlkd_bert, mt_bert]", "seeds=[1, 2]")


def test_keys_of_a_small_suite_are_unchanged(small):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the number of threads orders sums on a CPU, so it is part of keys
    try:
        plan = small.plan(*SETTINGS)
    finally:
        torch.set_num_threads(threads)
    runs = {f"{job.planned.label} seed {job.planned.seed}": job.planned.key for job in plan.runs}
    keys = {"runs": runs, "teachers": {job.name: job.key for job in plan.teachers}}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
    assert keys == json.loads(GOLDEN.read_text(encoding="utf-8"))
