"""The names of `harness.api.lazy_torch` are those of torch, and are imported when they are used."""

import subprocess
import sys

import torch

from harness.api import lazy_torch


def test_its_attributes_are_those_of_torch():
    assert lazy_torch.torch.Tensor is torch.Tensor
    assert lazy_torch.nn.Linear is torch.nn.Linear
    assert lazy_torch.F.mse_loss is torch.nn.functional.mse_loss


def test_torch_is_imported_with_the_first_attribute():
    code = """
import sys
from harness.api.lazy_torch import F, nn, torch
assert "torch" not in sys.modules, "imported too early"
nn.Linear
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
