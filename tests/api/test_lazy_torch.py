"""The names of `harness.api.lazy_torch` are those of torch, and are imported when they are used."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch

from harness.api import lazy_torch


def test_its_attributes_are_those_of_torch():
    assert lazy_torch.torch.Tensor is torch.Tensor
    assert lazy_torch.nn.Linear is torch.nn.Linear
    assert lazy_torch.F.mse_loss is torch.nn.functional.mse_loss


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_and_pickles_are_the_same_modules(duplicate):
    assert duplicate(lazy_torch.nn).Linear is torch.nn.Linear
    assert duplicate(lazy_torch.torch).__version__ == torch.__version__


def test_functions_that_use_it_can_be_sent_to_ray_workers():
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    code = "from harness.api.lazy_torch import nn\ndef linear(): return nn.Linear"
    notebook = {"__name__": "__main__"}
    exec(code, notebook)
    assert pickle.loads(cloudpickle.dumps(notebook["linear"]))() is torch.nn.Linear


def test_an_instance_without_a_name_has_no_attributes():
    bare = object.__new__(type(lazy_torch.torch))
    assert not hasattr(bare, "Tensor")


def test_torch_is_imported_with_the_first_attribute():
    code = """
import sys
from harness.api.lazy_torch import F, nn, torch
assert "torch" not in sys.modules, "imported too early"
nn.Linear
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
