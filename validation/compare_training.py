"""Training steps side by side with PyTorch: the same weights, batches, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch
from torch import nn

from minigrad import SGD, Adam, MSELoss
from minigrad.backend import module_for, resolve_device, to_device, to_host
from minigrad.schedule import ReduceLROnPlateau
from validation.agreement import finite_error
from validation.report import Case, failed, gather, silent
from validation.tolerances import NETWORK_RTOL, TRAINING_FLOAT32_RTOL
from validation.transfer import make_twin
from zoo import create

STEPS, BATCH, MICRO = 8, 4, 2


@dataclass(frozen=True)
class Training:
    """A way to train: optimiser with its arguments, with or without a plateau schedule.

    `micro`: batches of two halves, whose gradients are added before the step.
    """

    name: str
    optimiser: str
    arguments: dict[str, Any]
    plateau: dict[str, Any] = field(default_factory=dict)
    micro: bool = False


TRAININGS = (
    Training("sgd", "SGD", {"lr": 0.5}),
    Training("sgd-momentum", "SGD", {"lr": 0.1, "momentum": 0.9}),
    Training(
        "sgd-nesterov-decay",
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    ),
    Training("adam", "Adam", {"lr": 1e-3, "betas": (0.9, 0.99)}),
    Training("adam-decay", "Adam", {"lr": 1e-3, "weight_decay": 1e-2}),
    Training("plateau", "SGD", {"lr": 0.5}, {"patience": 1, "threshold": 0.2, "factor": 0.5}),
    Training("micro-batches", "SGD", {"lr": 0.5}, micro=True),
)


@dataclass(frozen=True)
class Setting:
    """How a network is trained here: its arguments, picture side, learning rates, and ways.

    `trainings`: names of `TRAININGS`; all of them, unless the network is slow. `seed`: of the
    batches; one with which no activation meets its kink within float32's rounding, where two right
    answers differ.
    """

    arguments: dict[str, Any]
    side: int
    lr_factor: float = 1.0
    trainings: tuple[str, ...] = tuple(training.name for training in TRAININGS)
    seed: int = 1


def _short(lr_factor: float = 1.0, **arguments: Any) -> Setting:
    """A narrow network for colour, trained in two ways."""
    how = ("sgd-momentum", "adam")
    return Setting({"channels": 3, "features": 8, **arguments}, 12, lr_factor, how)


MODELS: dict[str, Setting] = {
    "n2n-simple": Setting({"features": 16}, 16),
    "n2n-prelu-unet": Setting({"features": 8}, 16, seed=2),
    "n2n-unet": Setting({}, 32, lr_factor=0.02, trainings=("sgd-momentum", "adam")),
    "dncnn-s": _short(depth=6),
    "dncnn-b": _short(depth=7),
    "dncnn-kair": _short(depth=6, lr_factor=0.2),
    "bf-dncnn": _short(depth=6),
    "bf-unet": _short(),
    "bf-rcnn": _short(hidden=2),
    "bf-sdensenet": _short(hidden=2),
    "pcst-dncnn": _short(depth=6),
    "dbsn-gray": Setting({"width": 8, "blocks": 1}, 12, 0.02, ("sgd-momentum", "adam")),
    "dbsn-color": Setting({"width": 8, "blocks": 1}, 12, 0.02, ("sgd-momentum", "adam")),
    "mwcnn": Setting(
        {"channels": 3, "level1": 6, "level2": 8, "level3": 8}, 16, 0.2, ("sgd-momentum", "adam")
    ),
    "hdn": Setting(
        {
            "z_dims": [3, 4],
            "n_filters": 6,
            "blocks_per_layer": 1,
            "img_shape": [16, 16],
            "batchnorm": False,  # Adam takes the rounding of a gradient that vanishes for a step
        },
        16,
        0.2,
        ("sgd-momentum", "adam"),
    ),
    "divnoising": Setting(
        {"z_dim": 5, "init_filters": 4}, 16, 0.2, ("sgd-momentum", "adam", "micro-batches")
    ),
    "psl-ae": Setting(
        {"block": 8, "overlap": 4, "width": 4, "clusters": 1}, 16, 0.2, ("sgd-momentum", "adam")
    ),
}


def run_training(
    only: str | None = None, device: str = "cpu", say: Callable[[str], None] = silent
) -> list[Case]:
    """Train every network in every way whose case name matches `only`, on both sides.

    Raises:
        DeviceError: `device` is "cuda" and cannot be used.
    """
    device = resolve_device(device)
    cases = (
        compare(model, training, dtype, device)
        for model in MODELS
        for training in TRAININGS
        for dtype in (np.float64, np.float32)
        if training.name in MODELS[model].trainings
        and fnmatch(_name(model, training, dtype), only or "*")
    )
    return gather(cases, say)


def _name(model: str, training: Training, dtype: Any) -> str:
    return f"{model} {training.name} {np.dtype(dtype).name}"


def compare(model: str, training: Training, dtype: Any, device: str = "cpu") -> Case:
    """One network trained in one way by both sides: losses, weights and learning rate agree."""
    case = Case(_name(model, training, dtype), True)
    try:
        case.figures = _figures(*train_both(model, training, dtype, device), dtype)
    except Exception as error:
        return failed(case, error)
    return case


def _figures(ours: Trace, theirs: Trace, dtype: Any) -> dict[str, float]:
    rtol = NETWORK_RTOL if dtype == np.float64 else TRAINING_FLOAT32_RTOL
    losses = finite_error(np.array(ours.losses), np.array(theirs.losses), what="losses")
    assert ours.weights.keys() == theirs.weights.keys(), f"keys {[*ours.weights]}"
    errors = {k: finite_error(ours.weights[k], w, what=k) for k, w in theirs.weights.items()}
    for name, error in {"losses": losses, **errors}.items():
        assert error <= rtol, f"{name}: error {error:.2e}, expected at most {rtol:.0e}"
    assert ours.lr == theirs.lr, f"learning rate {ours.lr}, PyTorch {theirs.lr}"
    weights = max(errors.values())
    return {"losses": losses, "weights": weights, "lr": ours.lr, "loss": ours.losses[-1]}


# ------------------------------------------------------------------ the two sides


@dataclass
class Trace:
    """What a training leaves: the loss of each step, the weights, the last learning rate."""

    losses: list[float]
    weights: dict[str, np.ndarray]
    lr: float


def train_both(
    name: str, training: Training, dtype: Any, device: str = "cpu"
) -> tuple[Trace, Trace]:
    """The same training by the engine and by PyTorch (on the CPU)."""
    setting = MODELS[name]
    lr = training.arguments["lr"] * setting.lr_factor
    training = replace(training, arguments={**training.arguments, "lr": lr})
    rng = np.random.default_rng(0)
    model = create(name, rng=rng, dtype=np.float64, **setting.arguments).astype(dtype)
    for parameter in model.parameters():  # off zero: errors are relative to the largest entry
        parameter.value[...] += 0.02 * rng.standard_normal(parameter.value.shape)
    twin = make_twin(model)
    batches = list(_batches(setting, model.channels, dtype))
    theirs = _train_twin(twin, training, batches)
    return _train_model(model.to(device), training, batches, device), theirs


def _batches(
    setting: Setting, channels: int, dtype: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Smooth pictures with two draws of noise, (BATCH, channels, side, side)."""
    rng, side = np.random.default_rng(setting.seed), setting.side
    rows, columns = np.mgrid[:side, :side] / side
    for _ in range(STEPS):
        phase = rng.random((BATCH, channels, 1, 1)) * 6
        clean = 0.5 + 0.4 * np.sin(6 * rows + 4 * columns + phase)
        noise = 0.1 * rng.standard_normal((2, *clean.shape))
        yield (clean + noise[0]).astype(dtype), (clean + noise[1]).astype(dtype)


def _parts(training: Training, x: Any) -> list[Any]:
    return [x[:MICRO], x[MICRO:]] if training.micro else [x]


def _train_model(model: Any, training: Training, batches: Any, device: str) -> Trace:
    xp, loss = module_for(device), MSELoss()
    make: Callable[..., Any] = {"SGD": SGD, "Adam": Adam}[training.optimiser]
    optimiser = make(model.parameters(), **training.arguments)
    schedule = None
    if training.plateau:
        schedule = ReduceLROnPlateau(training.arguments["lr"], **training.plateau)
    losses = []
    for step, (x, target) in enumerate(batches):
        model.zero_grad()
        total = 0.0
        pieces = zip(_parts(training, x), _parts(training, target), strict=True)
        for xi, ti in pieces:
            y, vjp = model.forward_and_vjp(to_device(xi, device))
            value, loss_vjp = loss.forward_and_vjp(y, to_device(ti, device))
            vjp(loss_vjp(xp.ones_like(value))[0])
            total += float(value)
        optimiser.step()
        losses.append(total)
        if schedule is not None:
            schedule.observe(total)
            optimiser.lr = schedule.lr(step + 1)
    weights = {k: to_host(a) for k, a in model.state_dict().items()}
    return Trace(losses, weights, float(optimiser.lr))


def _train_twin(twin: nn.Module, training: Training, batches: Any) -> Trace:
    make: Callable[..., Any] = getattr(torch.optim, training.optimiser)
    optimiser = make(twin.parameters(), **training.arguments)
    schedule = None
    if training.plateau:
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, **training.plateau)
    losses = []
    for x, target in batches:
        optimiser.zero_grad()
        total = 0.0
        pieces = zip(_parts(training, x), _parts(training, target), strict=True)
        for xi, ti in pieces:
            value = nn.functional.mse_loss(twin(torch.from_numpy(xi)), torch.from_numpy(ti))
            value.backward()
            total += value.item()
        optimiser.step()
        losses.append(total)
        if schedule is not None:
            schedule.step(total)
    weights = {k: t.detach().numpy() for k, t in twin.state_dict().items()}
    return Trace(losses, weights, optimiser.param_groups[0]["lr"])
