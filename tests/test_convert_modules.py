"""What a pickled module says of its layers: taken up, or refused where tensors alone would fit."""

from __future__ import annotations

import pytest
import torch

from minigrad.checkpoint import CheckpointError
from tests.official import saved
from zoo.convert import convert


def named(*middle: torch.nn.Module) -> torch.nn.Module:
    """A module with the names of `dncnn-kair`."""
    first, last = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 1, 3, padding="same")
    outer = torch.nn.Module()
    outer.model = torch.nn.Sequential(first, torch.nn.ReLU(), *middle, last)
    return outer


_CONV, _RELU = torch.nn.Conv2d, torch.nn.ReLU


@pytest.mark.parametrize(
    ("middle", "words"),
    [
        ((_CONV(2, 2, 3, 2, 1), _RELU()), r"stride: expected \(1, 1\), the file says \(2, 2\)"),
        ((_CONV(2, 2, 3, 1, 2, 2), _RELU()), r"padding: expected \(1, 1\), the file says"),
        ((_CONV(2, 2, 3, padding="same", dilation=2), _RELU()), "padding: expected|dilation: exp"),
        ((_CONV(2, 2, 3, 1, 1, padding_mode="reflect"), _RELU()), "padding_mode: expected zeros"),
        ((_CONV(2, 2, 3, 1, 1), torch.nn.BatchNorm2d(2), _RELU()), "eps: expected 0.0001, the fil"),
        ((_CONV(2, 2, 3, 1, 1), torch.nn.LeakyReLU()), "'LeakyReLU', which the network has not"),
    ],
)
def test_pickled_layers_of_another_kind(middle, words, tmp_path):
    """The tensors alone would fit."""
    path = tmp_path / "model.pth"
    path.write_bytes(saved(named(*middle)))
    with pytest.raises(CheckpointError, match=words):
        convert(path, "dncnn-kair", tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((_CONV(1, 2, 3, 1, 1), _CONV(2, 1, 3, 1, 1)), "a convolution without a ReLU before it"),
        ((_CONV(1, 2, 3, 1, 1), _RELU(), _CONV(2, 1, 3, 1, 1), _RELU()), "last layer is a ReLU"),
        ((_CONV(1, 2, 3, 1, 1), _RELU(), _RELU(), _CONV(2, 1, 3, 1, 1)), "does not follow a conv"),
        ((_CONV(1, 2, 3, 1, 0), _RELU(), _CONV(2, 1, 3, 1, 1)), r"padding: expected \(1, 1\)"),
    ],
)
def test_pickled_chains_that_are_no_dncnn(layers, words, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(saved(torch.nn.Sequential(*layers)))
    with pytest.raises(CheckpointError, match=words):
        convert(path, "dncnn-kair", tmp_path / "out.safetensors")


def test_a_pickled_module_with_the_network_s_own_names(tmp_path):
    """It fits as it is: nothing is merged, and there is nothing to choose."""
    path, out = tmp_path / "model.pth", tmp_path / "out.safetensors"
    conv, relu = torch.nn.Conv2d, torch.nn.ReLU
    for norms in ([], [torch.nn.BatchNorm2d(2, eps=1e-4)]):
        path.write_bytes(saved(named(conv(2, 2, 3, padding=1), *norms, relu())))
        done = convert(path, "dncnn-kair", out, overwrite=True)
        assert done.part == "the file itself"
        assert done.arguments["form"] == ("BR" if norms else "R")
