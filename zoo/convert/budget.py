"""What reading a file may cost, and how a file is refused."""

from __future__ import annotations

MAX_BYTES = 512 << 20
"""Largest file, and largest sum of its tensors, unless the caller says otherwise."""

_OBJECTS = 32 << 20
_TENSORS = 64 << 20
_STEP = 128


class Refused(Exception):
    """A file cannot be read or converted; the text is the reason, without the file's name."""


class Record:
    """What stands for something that a file describes; its text can stand in a message."""

    __slots__ = ()


def shown(value: object, most: int = 60) -> str:
    """Text or a number from a file, quoted and cut, so that it can stand in a message of one line.

    Of a container only its kind, unless it holds a few numbers: what a file nests may be too deep
    to be printed.
    """
    few = isinstance(value, tuple | list) and 0 < len(value) <= 4
    if few and all(isinstance(part, int | float) for part in value):  # type: ignore[attr-defined]
        return f"({', '.join(map(shown, value))})"  # type: ignore[call-overload]
    if isinstance(value, str | bytes):
        return repr(value[:most]) + ("..." if len(value) > most else "")
    if isinstance(value, Record):
        return str(value)
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return f"an integer of {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float | None) else type(value).__name__


def plain(name: str, most: int = 100) -> str:
    """A name from a file as it is; quoted and cut where it is odd or long."""
    usual = len(name) <= most and name.isascii() and name.isprintable()
    return name if usual else shown(name, most)


class Budget:
    """Counts down what is left, and refuses before anything is made that goes beyond it.

    Two accounts. Small objects, which a file describes in a byte or two each and which take a
    hundred in memory: 32 MiB, or twice the size of a larger file; every step of a pickle costs at
    least 128 bytes, which bounds the steps too. Tensors, which a file may declare to be of any
    size: 64 MiB, or four times the size of a larger file, and never more than `max_bytes`.
    """

    def __init__(
        self, file_bytes: int, max_bytes: int = MAX_BYTES, objects: int = _OBJECTS
    ) -> None:
        """`objects` in place of the 32 MiB."""
        self.objects = max(objects, 2 * file_bytes)
        self.tensors = self.limit = min(max_bytes, max(_TENSORS, 4 * file_bytes))

    def step(self, size: int = 0) -> None:
        """One step of a pickle that makes an object of `size` bytes."""
        self.objects -= _STEP + size
        if self.objects < 0:
            raise Refused("it describes more objects than a file of its size may")

    def tensor(self, size: int, name: str) -> None:
        """`size` bytes for the tensor that messages call `name`."""
        self.tensors -= size
        if self.tensors < 0:
            raise Refused(
                f"{name}: with it the tensors take more than the limit of {self.limit} bytes"
            )
