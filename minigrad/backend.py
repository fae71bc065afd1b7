"""The array module behind every layer, and the table of functions that may have a faster form.

Arrays are plain `numpy.ndarray` or `cupy.ndarray`. A layer never asks which: it takes its array
module from its input (`xp = array_module(x)`). Nobody imports CuPy until a device is asked for.

Layers call plain functions such as `conv2d(x, weight, ...)`, written once, readably, in array code,
and marked `@replaceable`. The room `minigrad/kernels/` registers faster forms of them, one per
(backend, precision); a call looks in the table and falls back to the definition. Without that room
the engine is slower, complete and correct.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

Array = Any
"""A `numpy.ndarray` or a `cupy.ndarray`."""

P = ParamSpec("P")
R = TypeVar("R")

CUPY_INSTALL = (
    "pip install 'cupy-cuda12x[ctk]'  (CUDA 12)  or  pip install 'cupy-cuda13x[ctk]'  (CUDA 13)"
)


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used; the message gives the cause and the remedy."""


# --------------------------------------------------------------------------- which arrays


def array_module(*arrays: Array) -> ModuleType:
    """The module that the arrays belong to: `numpy`, or `cupy` when any of them lives on a GPU.

    CuPy is looked up, never imported: an array of a library that is not loaded cannot exist.
    """
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(isinstance(a, cupy.ndarray) for a in arrays):
        return cupy
    return np


def is_array(x: object) -> bool:
    """Whether `x` is a NumPy or CuPy array (a 0-d result of NumPy counts)."""
    if isinstance(x, np.ndarray | np.generic):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def device_of(x: Array) -> str:
    """`"cpu"` for a NumPy array, `"cuda"` for a CuPy array."""
    return "cpu" if array_module(x) is np else "cuda"


def to_host(x: Array) -> np.ndarray:
    """The array as NumPy (itself if it is one already, else a copy from the GPU)."""
    return np.asarray(x) if array_module(x) is np else x.get()


def to_device(x: Array, device: str) -> Array:
    """The array on `device` (`"cpu"` or `"cuda"`); itself when it is there already."""
    if device == "cpu":
        return to_host(x)
    return _cupy().asarray(x)


def module_for(device: str) -> ModuleType:
    """`numpy` for `"cpu"`, `cupy` for `"cuda"`."""
    return np if device == "cpu" else _cupy()


def resolve_device(device: str = "auto") -> str:
    """Turn `"cpu"`, `"cuda"` or `"auto"` into `"cpu"` or `"cuda"`.

    Raises:
        DeviceError: the name is unknown, or `"cuda"` was asked for and there is no usable GPU
            (never a silent fall-back).
    """
    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}")
    if device == "cpu":
        return "cpu"
    cause = _why_no_cuda()
    if cause is None:
        return "cuda"
    if device == "auto":
        return "cpu"
    raise DeviceError(f"device 'cuda' cannot be used: {cause}")


def _why_no_cuda() -> str | None:
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error}). Install it with: {CUPY_INSTALL}"
    if not cupy.cuda.is_available():
        return (
            f"CuPy {cupy.__version__} is installed but finds no GPU (no driver, no device, or a "
            f"CuPy wheel for another CUDA version). Check `nvidia-smi`; wheels: {CUPY_INSTALL}"
        )
    return None


def _cupy() -> ModuleType:
    resolve_device("cuda")
    import cupy

    return cupy


# --------------------------------------------------------------------------- replaceable functions

_float32_precision = "float32"
_kernels_enabled = True


@functools.cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    """`dtype.name`, which NumPy works out anew, in Python, each time that it is asked."""
    return dtype.name


class Replaceable(Generic[P, R]):
    """A plain function with a table of faster forms.

    Calling it runs the form registered for (backend, precision) of its first argument, else
    `definition`. Where "tf32" is asked for and has no form, the float32 form runs: it is exact
    enough. A form may return `NotImplemented` for a case that it does not cover; then the
    definition runs.
    """

    def __init__(self, definition: Callable[P, R]) -> None:
        """Wrap `definition`, the readable form that needs no table entry."""
        self.definition = definition
        self.first = next(iter(inspect.signature(definition).parameters))
        self.table: dict[tuple[str, str], Callable[P, R]] = {}
        functools.update_wrapper(self, definition)

    def register(
        self, backend: str, *precisions: str
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorator: register a form for `backend` ("numpy" or "cupy") and each precision named.

        A precision is a dtype name, or "tf32": float32 arrays under `float32_precision("tf32")`.
        """

        def add(kernel: Callable[P, R]) -> Callable[P, R]:
            for precision in precisions:
                self.table[backend, precision] = kernel
            return kernel

        return add

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.table and _kernels_enabled:
            kernel = self._form(args[0] if args else kwargs.get(self.first))
            if kernel is not None:
                result = kernel(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        return self.definition(*args, **kwargs)

    def _form(self, first: Array) -> Callable[P, R] | None:
        """The registered form for the first argument, if any."""
        if first is None:  # left out: the definition says what is missing
            return None
        backend, precision = array_module(first).__name__, _dtype_name(first.dtype)
        kernel = self.table.get((backend, precision))
        if precision == "float32" and _float32_precision != precision:
            kernel = self.table.get((backend, _float32_precision), kernel)
        return kernel


def replaceable(definition: Callable[P, R]) -> Replaceable[P, R]:
    """Mark a function as replaceable by a faster form of the kernels room."""
    return Replaceable(definition)


@contextmanager
def definitions_only() -> Iterator[None]:
    """Within this context no kernel is used: every replaceable function runs its definition."""
    global _kernels_enabled
    before, _kernels_enabled = _kernels_enabled, False
    try:
        yield
    finally:
        _kernels_enabled = before


@contextmanager
def float32_precision(precision: str) -> Iterator[None]:
    """Within this context float32 products use `precision`: "float32" (strict) or "tf32".

    TF32, whose factors have 10 bits of mantissa, is a permission: only a GPU has it, and a CPU goes
    on in float32. Raises ValueError for another name.
    """
    global _float32_precision
    if precision not in ("float32", "tf32"):
        raise ValueError(f"precision: expected 'float32' or 'tf32', got {precision!r}")
    before, _float32_precision = _float32_precision, precision
    try:
        yield
    finally:
        _float32_precision = before


@replaceable
def matmul(a: Array, b: Array) -> Array:
    """The product `a @ b`, batched over leading axes: every matrix product of the definitions.

    NumPy's floating-point warnings are off: it reads the processor's flags, and a BLAS may raise
    them in lanes that it computes and discards ("invalid value" on finite factors with a finite
    product). An infinity or NaN among the factors shows in the product.
    """
    with np.errstate(all="ignore"):
        return a @ b
