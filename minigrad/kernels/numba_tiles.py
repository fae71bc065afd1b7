"""A tile of a matrix product, held in the processor's registers while its terms are summed.

    tile[r, v] += a[i_r] b[j + v]        r < ROWS, v < 2 vectors

Two loads of b and ROWS numbers of a serve 2 ROWS multiplications of whole vectors, each of which
adds to sums of its own: the processor can begin one in every cycle. The numbers of a may lie
anywhere, so a convolution reads them where its taps do, and nothing is unfolded.

The functions stand for a few vector instructions each and are for compiled loops alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import extending, types
from numba.core import cgutils

intrinsic: Any = extending.intrinsic  # its type would be that of what it decorates

_FEATURES = binding.get_host_cpu_features()
_WIDE = bool(_FEATURES.get("avx512f"))
BYTES = 64 if _WIDE else 32 if _FEATURES.get("avx") else 16
"""Of a vector."""
ROWS = 8 if _WIDE or not binding.get_default_triple().startswith("x86_64") else 6
"""Of a tile: its sums, one row of b and a number of a have to fit into 32 registers, or into 16."""
VECTORS = 2
"""Of a row of a tile."""


def columns(dtype: np.dtype[Any]) -> int:
    """Numbers of a row of a tile."""
    return VECTORS * BYTES // dtype.itemsize


def rounded(count: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-count // step) * step


# --- the compiler's side --------------------------------------------------------------------------


class _Vector(types.Type):
    """BYTES of numbers."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.width = BYTES * 8 // real.bitwidth
        super().__init__(name=f"_Vector({real}, {self.width})")


@extending.register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):
    """A vector of LLVM's."""

    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, _llvm(kind))


def _llvm(kind: _Vector) -> ir.VectorType:
    real = ir.FloatType() if kind.real == types.float32 else ir.DoubleType()
    return ir.VectorType(real, kind.width)


def _tile(real: Any) -> Any:
    return types.UniTuple(_Vector(real), ROWS * VECTORS)


class _Place:
    """Where an array's numbers begin to be read or written."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, index: Any) -> None:
        self.builder, self.real = builder, context.get_value_type(kind.dtype)
        data = context.make_array(kind)(context, builder, array).data
        self.start = builder.gep(data, [index])
        if kind.dtype != types.int64:
            self.vector, self.align = _llvm(_Vector(kind.dtype)), kind.dtype.bitwidth // 8

    def _at(self, offset: Any) -> Any:
        offset = cgutils.intp_t(offset) if isinstance(offset, int) else offset
        return self.builder.gep(self.start, [offset])

    def _vector_at(self, offset: Any) -> Any:
        return self.builder.bitcast(self._at(offset), self.vector.as_pointer())

    def index(self, offset: int) -> Any:
        """A whole number."""
        return self.builder.load(self._at(offset))

    def number(self, offset: Any) -> Any:
        """A number, in every place of a vector."""
        none = ir.Constant(self.vector, ir.Undefined)
        number = self.builder.load(self._at(offset))
        first = self.builder.insert_element(none, number, cgutils.int32_t(0))
        everywhere = ir.Constant(ir.VectorType(cgutils.int32_t, self.vector.count), None)
        return self.builder.shuffle_vector(first, none, everywhere)

    def load(self, offset: Any) -> Any:
        """The vector that begins there."""
        return self.builder.load(self._vector_at(offset), align=self.align)

    def store(self, value: Any, offset: Any) -> None:
        """Put a vector there."""
        self.builder.store(value, self._vector_at(offset), align=self.align)

    def tile(self, rows: list[Any]) -> list[Any]:
        """Where the vectors of a tile lie whose rows begin so far on."""
        width = self.vector.count
        return [
            self.builder.add(row, cgutils.intp_t(v * width)) for row in rows for v in range(VECTORS)
        ]


_PLACES = types.UniTuple(types.uint64, ROWS)


@intrinsic
def fill(typing: Any, row: Any, i: Any) -> Any:
    """A tile each row of which is row[i], row[i + 1], ..."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, row, values[0], values[1])
        vectors = [place.load(v * place.vector.count) for v in range(VECTORS)]
        return context.make_tuple(builder, signature.return_type, vectors * ROWS)

    return _tile(row.dtype)(row, types.uint64), build


@intrinsic
def read(typing: Any, a: Any, at: Any, i: Any) -> Any:
    """The tile whose row r lies in `a`, from place at[r] + i on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, a, values[0], values[2])
        rows = place.tile(cgutils.unpack_tuple(builder, values[1]))
        loaded = [place.load(at) for at in rows]
        return context.make_tuple(builder, signature.return_type, loaded)

    return _tile(a.dtype)(a, _PLACES, types.uint64), build


@intrinsic
def places(typing: Any, at: Any, i: Any) -> Any:
    """at[i], at[i + 1], ...: ROWS places."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, at, values[0], values[1])
        found = [place.index(r) for r in range(ROWS)]
        return context.make_tuple(builder, signature.return_type, found)

    return _PLACES(at, types.uint64), build


@intrinsic
def every(typing: Any, apart: Any) -> Any:
    """0, apart, 2 apart, ...: places at regular distances."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        found = [builder.mul(values[0], cgutils.intp_t(r)) for r in range(ROWS)]
        return context.make_tuple(builder, signature.return_type, found)

    return _PLACES(types.uint64), build


@intrinsic
def step(typing: Any, tile: Any, a: Any, at: Any, i: Any, b: Any, j: Any) -> Any:
    """The tile with the numbers a[at[0] + i], a[at[1] + i], ... times a row of b from b[j] on
    added.
    """

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums = cgutils.unpack_tuple(builder, values[0])
        left = _Place(context, builder, a, values[1], values[3])
        right = _Place(context, builder, b, values[4], values[5])
        row = [right.load(v * right.vector.count) for v in range(VECTORS)]
        added = []
        for r, place in enumerate(cgutils.unpack_tuple(builder, values[2])):
            number = left.number(place)
            for v in range(VECTORS):
                term = builder.fmul(number, row[v], flags=("contract",))
                added.append(builder.fadd(sums[r * VECTORS + v], term, flags=("contract",)))
        return context.make_tuple(builder, signature.return_type, added)

    whole = types.uint64
    return tile(tile, a, _PLACES, whole, b, whole), build


@intrinsic
def write(typing: Any, tile: Any, out: Any, at: Any, o: Any) -> Any:
    """Put row r of a tile into `out`, from place at[r] + o on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, out, values[1], values[3])
        sums = cgutils.unpack_tuple(builder, values[0])
        rows = cgutils.unpack_tuple(builder, values[2])
        for value, at in zip(sums, place.tile(rows), strict=True):
            place.store(value, at)
        return context.get_dummy_value()

    return types.void(tile, out, _PLACES, types.uint64), build


@intrinsic
def turn(typing: Any, a: Any, i: Any, apart: Any, out: Any, o: Any, between: Any) -> Any:
    """Transpose a square of as many numbers each way as a vector has: its rows begin at a[i] and so
    many numbers `apart`, its columns go to out[o] and so many numbers `between`.
    """

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = _Place(context, builder, a, values[0], values[1])
        place = _Place(context, builder, out, values[3], values[4])
        width = source.vector.count
        rows = [source.load(builder.mul(values[2], cgutils.intp_t(r))) for r in range(width)]
        half, count = width // 2, ir.VectorType(cgutils.int32_t, width)
        # Zipping row r with row r + width / 2 is one step of a perfect shuffle of all numbers.
        zips = [
            ir.Constant(count, [n for m in range(first, first + half) for n in (m, width + m)])
            for first in (0, half)
        ]
        for _ in range(width.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[r], rows[r + half], both)
                for r in range(half)
                for both in zips
            ]
        for r, row in enumerate(rows):
            place.store(row, builder.mul(values[5], cgutils.intp_t(r)))
        return context.get_dummy_value()

    whole = types.uint64
    return types.void(a, whole, whole, out, whole, whole), build
