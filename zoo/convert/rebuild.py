"""The few names in a pickle that stand for data, and the data they stand for.

Everything here takes what the file says, checks each type and size, and makes a record; a name
that is not in the table becomes a `Made`. Sources of the arguments: PyTorch's `torch/_utils.py`
and `torch/storage.py`, NumPy's `__reduce__` of arrays, dtypes and scalars, Python's `copyreg`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.records import (
    DType,
    Made,
    Name,
    NumpyArray,
    Storage,
    View,
    safe_key,
    shape,
    whole_numbers,
)

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}
"""The class of a storage in a file, and the type of its values."""

_KINDS = frozenset((*STORAGES.values(), "uint16", "uint32", "uint64"))
_PLAIN = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f[248]|c8|c16)")


def called(name: Any, arguments: tuple[Any, ...], budget: Budget) -> Any:
    """What a call of the named class or function stands for."""
    if isinstance(name, Name):
        known = _KNOWN.get(_today(name))
        if known is not None:
            return known(arguments, budget)
    return Made(name, arguments)


def built(target: Any, state: Any, budget: Budget) -> None:
    """Give an object the state that the pickle has for it.

    An ordered dictionary's is `_metadata`, a tensor's its hooks: neither is needed.
    """
    if isinstance(target, DType):
        _order(target, state)
    elif isinstance(target, NumpyArray):
        target.values = _array_of_state(state, budget)
    elif isinstance(target, Made):
        target.state = state
    elif not isinstance(target, dict | list | set | View):
        raise Refused(f"its pickle is damaged: {shown(target)} with a state")


def _today(name: Name) -> tuple[str, str]:
    """The name as current versions of Python and NumPy (before 2, in `core`) write it."""
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(name.module, name.module)
    if module.startswith("numpy._core."):
        module = f"numpy.core.{module.removeprefix('numpy._core.')}"
    return module, name.name


def _given(arguments: tuple[Any, ...], least: int, what: str) -> tuple[Any, ...]:
    if len(arguments) < least:
        raise Refused(f"{what} with {len(arguments)} arguments, expected {least}")
    return arguments


# ------------------------------------------------------------------------------- PyTorch


def _tensor(arguments: tuple[Any, ...], _: Budget) -> View:
    storage, offset, size, stride = _given(arguments, 4, "a tensor")[:4]
    if not isinstance(storage, Storage):
        raise Refused(f"a tensor whose storage is {shown(storage)}")
    return _view(storage, storage.kind, offset, size, stride)


def _tensor_of_kind(arguments: tuple[Any, ...], _: Budget) -> View:
    """`_rebuild_tensor_v3`: the storage is of bytes, and the type is the seventh argument."""
    storage, offset, size, stride, _gradient, _hooks, kind = _given(arguments, 7, "a tensor")[:7]
    if not isinstance(storage, Storage):
        raise Refused(f"a tensor whose storage is {shown(storage)}")
    if not isinstance(kind, Name) or kind.module != "torch" or kind.name not in _KINDS:
        raise Refused(f"a tensor of type {shown(kind)}")
    return _view(storage, kind.name, offset, size, stride)


def _view(storage: Storage, kind: str, offset: Any, size: Any, stride: Any) -> View:
    (first,) = whole_numbers((offset,), "a tensor's offset")
    lengths, strides = shape(size, "a tensor's size"), whole_numbers(stride, "a tensor's stride")
    if len(lengths) != len(strides):
        raise Refused(f"a tensor of {len(lengths)} axes with {len(strides)} strides")
    return View(storage, kind, first, lengths, strides)


def _first(arguments: tuple[Any, ...], _: Budget) -> Any:
    """A parameter is its tensor."""
    return _given(arguments, 1, "a parameter")[0]


def _subclass(arguments: tuple[Any, ...], budget: Budget) -> Any:
    """`_rebuild_from_type_v2(function, type, arguments, state)`: the tensor without its state."""
    function, _type, inner = _given(arguments, 3, "a tensor")[:3]
    if not isinstance(function, Name) or _today(function)[1].startswith("_rebuild_from"):
        raise Refused("a tensor rebuilt by what is no function")
    if not isinstance(inner, tuple):
        raise Refused(f"a tensor rebuilt from {shown(inner)}")
    return called(function, inner, budget)


# ------------------------------------------------------------------------------- NumPy


def _dtype(arguments: tuple[Any, ...], _: Budget) -> DType:
    text = _given(arguments, 1, "a dtype")[0]
    plain = isinstance(text, str) and _PLAIN.fullmatch(text)
    return DType(text if plain else "")


def _order(target: DType, state: Any) -> None:
    """The state of a dtype: version, byte order, and what only composed dtypes have."""
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
        raise Refused("a NumPy dtype without a byte order")
    if target.text:
        target.text = state[1] + target.text.lstrip("<>|=")


def _scalar(arguments: tuple[Any, ...], _: Budget) -> Any:
    kind, raw = _given((*arguments, b""), 2, "a NumPy scalar")[:2]
    if not isinstance(kind, DType) or not kind.text:
        return Made(Name("numpy", "scalar"), ())
    content, expected = _raw(raw), np.dtype(kind.text).itemsize
    if len(content) != expected:
        raise Refused(f"a NumPy scalar of {len(content)} bytes, expected {expected}")
    return np.frombuffer(content, kind.text)[0].item()


def _blank(_arguments: tuple[Any, ...], _: Budget) -> NumpyArray:
    """`_reconstruct`: an array that is yet to be given its state."""
    return NumpyArray()


def _from_buffer(arguments: tuple[Any, ...], _: Budget) -> NumpyArray:
    raw, kind, size, order = _given(arguments, 4, "a NumPy array")[:4]
    return NumpyArray(_numbers(raw, kind, size, fortran=order == "F"))


def _array_of_state(state: Any, _: Budget) -> np.ndarray | None:
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise Refused("a NumPy array without its five parts")
    size, kind, fortran, raw = state[-4:]
    if isinstance(raw, list):
        return None  # of objects
    return _numbers(raw, kind, size, fortran=fortran is True or fortran == 1)


def _numbers(raw: Any, kind: Any, size: Any, *, fortran: bool) -> np.ndarray | None:
    if not isinstance(kind, DType):
        raise Refused(f"a NumPy array of type {shown(kind)}")
    if not kind.text:
        return None
    lengths, content = shape(size, "a NumPy array's shape"), _raw(raw)
    if (needed := math.prod(lengths) * np.dtype(kind.text).itemsize) != len(content):
        raise Refused(f"a NumPy array of {len(content)} bytes, its shape needs {needed}")
    if not needed:
        return None if max(lengths, default=0) >= 1 << 31 else np.zeros(lengths, kind.text)
    return np.frombuffer(content, kind.text).reshape(lengths, order="F" if fortran else "C")


def _raw(value: Any) -> bytes | bytearray:
    """Bytes; Python 2 wrote them as a text."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise Refused("bytes written as a text that holds more than bytes") from error
    if isinstance(value, bytes | bytearray):
        return value
    raise Refused(f"bytes made of {shown(value)}")


# ------------------------------------------------------------------------------- Python


def _mapping(arguments: tuple[Any, ...], budget: Budget) -> dict[Any, Any]:
    """A dictionary; its pairs come later, or as an argument from Python 2."""
    pairs = arguments[0] if arguments else ()
    if isinstance(pairs, dict):
        pairs = tuple(pairs.items())
    if not isinstance(pairs, list | tuple):
        raise Refused(f"a dictionary made of {shown(pairs)}")
    budget.step(200 * len(pairs))
    table: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Refused("a dictionary made of what are no pairs")
        table[safe_key(pair[0])] = pair[1]
    return table


def _table_by_default(_arguments: tuple[Any, ...], _: Budget) -> dict[Any, Any]:
    return {}


def _sequence(make: Callable[[Any], Any]) -> Callable[[tuple[Any, ...], Budget], Any]:
    def made(arguments: tuple[Any, ...], budget: Budget) -> Any:
        items = arguments[0] if arguments else ()
        if not isinstance(items, list | tuple):
            raise Refused(f"a sequence made of {shown(items)}")
        budget.step(64 * len(items))
        return make(items)

    return made


def _set(items: list[Any] | tuple[Any, ...]) -> set[Any]:
    return set(map(safe_key, items))


def _reconstructed(arguments: tuple[Any, ...], _: Budget) -> Made:
    """`copyreg._reconstructor(class, base, state of the base)`: an object, as protocols 0 and 1
    write it.
    """
    return Made(_given(arguments, 1, "an object")[0], arguments[2:])


def _bytes(arguments: tuple[Any, ...], budget: Budget) -> Any:
    """`bytes()`, `bytearray(b"...")`, `bytearray("...", "latin-1")`, `_codecs.encode`."""
    value = arguments[0] if arguments else b""
    budget.step(len(value) if isinstance(value, str | bytes | bytearray) else 0)
    return bytes(_raw(value))


_KNOWN: dict[tuple[str, str], Callable[[tuple[Any, ...], Budget], Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_kind,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch.autograd.variable", "Variable"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
    ("torch", "Size"): _sequence(tuple),
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "_reconstruct"): _blank,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _table_by_default,
    ("builtins", "dict"): _mapping,
    ("builtins", "list"): _sequence(list),
    ("builtins", "tuple"): _sequence(tuple),
    ("builtins", "set"): _sequence(_set),
    ("builtins", "frozenset"): _sequence(_set),
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("_codecs", "encode"): _bytes,
    ("copyreg", "_reconstructor"): _reconstructed,
}
