"""The matrix product of NumPy's own BLAS, for compiled loops.

A loop that had to return to NumPy for each product would wait for the interpreter lock twice a
product, and threads for each other. The BLAS that NumPy's wheels bring has C functions with 64-bit
integers; another BLAS is left alone, and what needs this file is then not used.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numba import types
from numba.extending import overload

from minigrad.kernels.numpy_threads import blas_file

_NAMES = {"s": "minigrad_sgemm", "d": "minigrad_dgemm"}


def _register() -> bool:
    """Make the functions known to the compiler; whether NumPy's BLAS has them."""
    path = blas_file()
    if path is None:
        return False
    library = ctypes.CDLL(path)
    for prefix in ("scipy_cblas_", "cblas_"):
        if all(hasattr(library, f"{prefix}{letter}gemm64_") for letter in _NAMES):
            for letter, name in _NAMES.items():
                function = getattr(library, f"{prefix}{letter}gemm64_")
                binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
            return True
    return False


FOUND = _register()
"""Whether `product` can be called. It must not be where not: the compiler ends the process."""


def _external(name: str, real: Any) -> Any:
    enum, whole, address = types.int32, types.int64, types.uint64
    return types.ExternalFunction(
        name,
        types.void(
            *(enum, enum, enum, whole, whole, whole, real, address, whole, address, whole),
            *(real, address, whole),
        ),
    )


_sgemm, _dgemm = (
    _external("minigrad_sgemm", types.float32),
    _external("minigrad_dgemm", types.float64),
)
_ROWS, _PLAIN, _TRANSPOSED = np.int32(101), np.int32(111), np.int32(112)


def product(m, n, k, a, lda, b, ldb, turned, beta, c, ldc):  # type: ignore[no-untyped-def]
    """c = beta c + a b, or a b' where `turned`: (m, k) and (k, n), rows `ld` numbers apart.

    a, b, c: addresses. beta: a scalar of the arrays' dtype. For compiled loops alone.
    """
    raise NotImplementedError


@overload(product)
def _product(m, n, k, a, lda, b, ldb, turned, beta, c, ldc):  # type: ignore[no-untyped-def]
    gemm = _sgemm if beta == types.float32 else _dgemm
    one = np.float32(1) if beta == types.float32 else np.float64(1)

    def call(m, n, k, a, lda, b, ldb, turned, beta, c, ldc):  # type: ignore[no-untyped-def]
        how = _TRANSPOSED if turned else _PLAIN
        gemm(_ROWS, _PLAIN, how, m, n, k, one, a, lda, b, ldb, beta, c, ldc)

    return call
