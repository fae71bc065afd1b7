"""PyTorch's format before 1.6: five pickles one after the other, then the raw values.

    magic number | protocol 1001 | about the system | the object | keys of the storages | values

The values are, for each key in turn, their number (int64) and themselves.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.pickles import read_pickle
from zoo.convert.records import Order, Storage
from zoo.convert.torch_zip import checked_count, storage_kind

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def read(content: bytes, budget: Budget) -> tuple[Any, bool]:
    """The object in a file of `torch.save`, or in a plain pickle; and whether it is the latter.

    Raises: Refused.
    """
    file, storages = io.BytesIO(content), _Storages()
    first = read_pickle(file, budget, storages)
    if type(first) is not int or first != MAGIC:
        if storages.found:
            raise Refused("a pickle with tensors whose values are elsewhere")
        return first, True
    protocol = read_pickle(file, budget, storages)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise Refused(f"protocol {shown(protocol)} of torch.save, expected {PROTOCOL}")
    system = read_pickle(file, budget, storages)
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    storages.order = "<" if little else ">"
    found = read_pickle(file, budget, storages)
    keys = read_pickle(file, budget, storages)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("its list of storages is damaged")
    _place(memoryview(content), file.tell(), keys, storages)
    return found, False


@dataclass
class _Storages:
    """Makes the storage of each persistent id, once; `parts` are views of a larger storage, which
    files before 2018 have.
    """

    order: Order = "<"
    found: dict[str, Storage] = field(default_factory=dict)
    parts: dict[tuple[str, int, int], Storage] = field(default_factory=dict)

    def __call__(self, identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # a class; its source text follows it in the file
        if not (isinstance(identity, tuple) and len(identity) == 6 and identity[0] == "storage"):
            raise Refused(f"an unknown persistent id, {shown(identity)}")
        _, name, key, _, count, part = identity
        kind, count = storage_kind(name), checked_count(count)
        if not isinstance(key, str):
            raise Refused(f"a storage called {shown(key)}")
        whole = self.found.setdefault(key, Storage(kind, self.order, key, count))
        if (whole.kind, whole.count) != (kind, count):
            raise Refused(f"storage {shown(key)} is declared in two ways")
        return whole if part is None else self._part(whole, part)

    def _part(self, whole: Storage, part: Any) -> Storage:
        if not isinstance(part, tuple) or len(part) != 3:
            raise Refused(f"a part of storage {shown(whole.key)} without its place")
        first, count = checked_count(part[1]), checked_count(part[2])
        if first + count > whole.count:
            raise Refused(f"a part of storage {shown(whole.key)} that reaches beyond it")
        place = (whole.key, first, count)
        return self.parts.setdefault(place, Storage(whole.kind, self.order, whole.key, count))


def _place(content: memoryview, at: int, keys: list[str], storages: _Storages) -> None:
    """Give every storage its values."""
    for key in keys:
        storage = storages.found.get(key)
        if storage is None or storage.content is not None:
            raise Refused(
                f"values for storage {shown(key)}, which no tensor has or which are known"
            )
        head = bytes(content[at : at + 8])
        declared = int.from_bytes(head, "little" if storages.order == "<" else "big", signed=True)
        size, left = storage.count * storage.itemsize, len(content) - at - 8
        if len(head) == 8 and declared != storage.count:
            raise Refused(f"storage {shown(key)} has {declared} values, expected {storage.count}")
        if left < size:
            raise Refused(
                f"truncated: storage {shown(key)} takes {size} bytes, {max(left, 0)} are left"
            )
        storage.content = content[at + 8 : at + 8 + size]
        at += 8 + size
    for key, storage in storages.found.items():
        if storage.content is None:
            raise Refused(f"the values of storage {shown(key)} are missing")
    for (key, first, count), part in storages.parts.items():
        whole = storages.found[key].content
        assert whole is not None
        part.content = whole[first * part.itemsize : (first + count) * part.itemsize]
