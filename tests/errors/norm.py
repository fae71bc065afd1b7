"""What the normalisations refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from tests.errors.common import DOUBLE, Wrong, X, image, unary, wrong


def per_channel(layer: str, make: Callable[..., mg.Module], running: str) -> list[Wrong]:
    """What every norm with running statistics of three channels refuses."""
    half = X.astype(np.float16)
    return [
        *image(layer, lambda: make(3)),
        wrong(layer, lambda: make(4)(X), ValueError, "x", "4 channels", "(2, 3, 6, 5)"),
        wrong(layer, lambda: make(3)(DOUBLE), TypeError, "x", "float64", "float32"),
        wrong(layer, lambda: make(0), ValueError, "num_features", "at least 1", "0"),
        wrong(layer, lambda: make(True), ValueError, "num_features", "whole", "True"),
        wrong(layer, lambda: make(3.0), ValueError, "num_features", "whole", "3.0"),
        wrong(layer, lambda: make(3, eps=0.0), ValueError, "eps", "above 0", "0.0"),
        wrong(layer, lambda: make(3, eps=np.nan), ValueError, "eps", "finite", "nan"),
        wrong(layer, lambda: make(3, momentum=1.5), ValueError, "momentum", "from 0 to 1", "1.5"),
        wrong(layer, lambda: make(3, momentum="0.1"), ValueError, "momentum", "number", "'0.1'"),
        wrong(layer, lambda: make(3, dtype=np.int32), TypeError, "dtype", "floating", "int32"),
        wrong(layer, lambda: _of_another_kind(make(3))(half), TypeError, running, "float16"),
    ]


def _of_another_kind(module: Any) -> mg.Module:
    """The module with float16 parameters, while its buffers stay float32."""
    arrays = {name: p.value.astype(np.float16) for name, p in module.named_parameters().items()}
    module.set_parameters(**arrays)
    return module


def one_value(layer: str, make: Callable[..., mg.Module]) -> list[Wrong]:
    """A norm whose variance needs two values."""
    single = X[:1, :, :1, :1]
    return [
        wrong(layer, lambda: make(3)(single), ValueError, "x", "more than one", "(1, 3, 1, 1)"),
    ]


ERRORS: list[Wrong] = [
    *per_channel("BatchNorm2d", mg.BatchNorm2d, "running_mean"),
    *one_value("BatchNorm2d", mg.BatchNorm2d),
    *one_value("BatchNorm2d", lambda c: mg.BatchNorm2d(c, track_running_stats=False).eval()),
    wrong(
        "BatchNorm2d",
        lambda: mg.BatchNorm2d(3, track_running_stats=False, frozen=True),
        ValueError,
        *("frozen", "track_running_stats=True", "False"),
    ),
    wrong(
        "BatchNorm2d",
        lambda: mg.BatchNorm2d(3, affine=False)(DOUBLE),
        TypeError,
        *("x", "float32", "running_mean", "float64"),
    ),
    *per_channel("BFBatchNorm2d", mg.BFBatchNorm2d, "running_var"),
    *one_value("BFBatchNorm2d", mg.BFBatchNorm2d),
    wrong(
        "BFBatchNorm2d", lambda: mg.BFBatchNorm2d(3, momentum=None), ValueError, "momentum", "None"
    ),
    *per_channel("BFStdNorm2d", mg.BFStdNorm2d, "running_sd"),
    *unary("Normalize", mg.Normalize),
    wrong("Normalize", lambda: mg.Normalize(p=1), ValueError, "p", "expected 2", "1"),
    wrong("Normalize", lambda: mg.Normalize(p="2"), ValueError, "p", "number", "'2'"),
    wrong("Normalize", lambda: mg.Normalize(dim=1.0), ValueError, "dim", "whole", "1.0"),
    wrong("Normalize", lambda: mg.Normalize(eps=0), ValueError, "eps", "above 0", "0"),
    wrong("Normalize", lambda: mg.Normalize(floor="sum"), ValueError, "floor", "'square'", "'sum'"),
    wrong("Normalize", lambda: mg.Normalize(dim=4)(X), ValueError, "dim", "-4 <= dim < 4", "got 4"),
]
