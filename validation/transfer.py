"""Weights and gradients between a network of the zoo and its PyTorch twin."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from minigrad.backend import to_host
from minigrad.module import Module
from minigrad.replay import noises
from validation.twins.networks import TWINS
from zoo.architectures import Denoiser


def make_twin(model: Denoiser) -> nn.Module:
    """The PyTorch twin of a network of the registry, with the same weights (copied) and dtype, and
    at the same place in the same noise.

    Raises:
        KeyError: the model has no registry name, or its architecture has no twin.
    """
    if model.architecture not in TWINS:
        raise KeyError(f"make_twin: {model.architecture!r}: expected one of {', '.join(TWINS)}")
    twin = TWINS[model.architecture](**model.arguments)
    copy_to_twin(model, twin)
    for noise in noises(model):  # one at most in a network
        twin.noise = copy.deepcopy(noise)  # type: ignore[assignment]
    return twin


def copy_to_twin(module: Module, twin: nn.Module) -> None:
    """Give `twin` copies of the arrays of `module`, under the same keys, and their dtype."""
    arrays = {k: torch.from_numpy(to_host(a).copy()) for k, a in module.state_dict().items()}
    floating = [a.dtype for a in arrays.values() if a.is_floating_point()]
    if floating:
        twin.to(floating[0])
    device = next((p.device for p in twin.parameters()), torch.device("cpu"))
    twin.load_state_dict({k: a.to(device) for k, a in arrays.items()}, strict=True)


def copy_from_twin(twin: nn.Module, module: Module) -> None:
    """Give `module` copies of the tensors of `twin`, under the same keys, and their dtype."""
    module.load_state_dict(
        {k: t.detach().cpu().numpy().copy() for k, t in twin.state_dict().items()}, strict=True
    )


def twin_gradients(twin: nn.Module) -> dict[str, np.ndarray]:
    """The gradients of the twin's trained parameters, each once, under its first name; else
    zeros.
    """
    return {
        name: (torch.zeros_like(p) if p.grad is None else p.grad).detach().cpu().numpy()
        for name, p in twin.named_parameters()
        if p.requires_grad
    }
