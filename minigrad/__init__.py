"""minigrad: a reverse-mode engine in which every layer writes its own vector-Jacobian product.

    y, vjp = layer.forward_and_vjp(x)
    dx = vjp(dy)                        # layer.d_weight, layer.d_bias have been added to

Arrays are NumPy's on a CPU and CuPy's on a GPU. Reading order: `module.py` (what a layer is),
`wiring.py` (reverse mode), `windows.py` (the adjoint pair under convolution), `layers/` and
`losses/` (the leaves), `optim.py`.
"""

from importlib import import_module

from minigrad import layers, losses
from minigrad.backend import (
    Array,
    DeviceError,
    array_module,
    device_of,
    resolve_device,
    to_device,
    to_host,
)
from minigrad.checkpoint import CheckpointError
from minigrad.clipping import clip_grad_norm, clip_grad_value
from minigrad.containers import Checkpoint, Detach, Frozen, Residual, Sequential
from minigrad.gradcheck import GradientError, check_adjoint, check_vjp
from minigrad.keras_adam import Clock, KerasAdam
from minigrad.layers import *  # noqa: F403
from minigrad.losses import *  # noqa: F403
from minigrad.module import Module, Parameter, once
from minigrad.noise import Noise
from minigrad.optim import SGD, Adam, Adamax
from minigrad.windows import Window, fold, unfold
from minigrad.wiring import Composite, Tape, Trace, Wire

try:
    # The kernels room registers faster forms; without it the engine is slower, complete and
    # correct. (`from minigrad import kernels` would not say what is missing: no `name`.)
    import_module("minigrad.kernels")
except ModuleNotFoundError as _error:
    if _error.name != "minigrad.kernels":
        raise

__version__ = "0.1.0"

__all__ = [
    "Array",
    "array_module",
    "device_of",
    "resolve_device",
    "to_device",
    "to_host",
    "DeviceError",
    "Module",
    "Parameter",
    "once",
    "Wire",
    "Tape",
    "Composite",
    "Trace",
    "Sequential",
    "Residual",
    "Checkpoint",
    "Frozen",
    "Detach",
    "Window",
    "unfold",
    "fold",
    *layers.__all__,
    *losses.__all__,
    "SGD",
    "Adam",
    "Adamax",
    "KerasAdam",
    "Clock",
    "clip_grad_norm",
    "clip_grad_value",
    "Noise",
    "check_vjp",
    "check_adjoint",
    "GradientError",
    "CheckpointError",
    "__version__",
]
