"""What a run's numbers depend on besides its recipe: versions, threads, BLAS, compiled loops."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

import minigrad


def environment(device: str) -> dict[str, Any]:
    """Device, versions, BLAS threads and BLAS core type, numba's version where its loops are used:
    results are bit-identical where all are equal.
    """
    pools = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    blas = pools[0] if pools else {}
    return {
        "device": device,
        "minigrad": minigrad.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": int(blas.get("num_threads", 1)),
        "blas_core": str(blas.get("architecture", "unknown")),
        "numba": _numba(),
    }


def _numba() -> str | None:
    """The version of numba where the engine's kernels use it."""
    if os.environ.get("MINIGRAD_NUMBA") == "0":
        return None
    try:
        return importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return None


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What has changed between two environments, in words; "" when nothing has."""
    names = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {before.get(name)} -> {now[name]}" for name in names)
