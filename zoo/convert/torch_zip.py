"""PyTorch's zip format (since 1.6): one pickle, and one member with raw values a storage.

<root>/data.pkl     the object; tensors name their storages by persistent ids
<root>/data/<key>   the values of a storage
<root>/byteorder    "little" or "big"; absent in older files
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.convert.budget import Budget, Refused, shown
from zoo.convert.pickles import read_pickle
from zoo.convert.rebuild import STORAGES
from zoo.convert.records import Name, Order, Storage

SIGNATURE = b"PK\x03\x04"
_END = b"PK\x05\x06"
_LIST_LIMIT = 2 << 20
"""Largest list of members; each takes some twenty times its bytes in memory."""


def read(content: bytes, budget: Budget) -> Any:
    """The object in a file of `torch.save`.

    Raises: Refused.
    """
    archive = _Archive(content)
    if "model.weights.h5" in archive.members:
        raise Refused("a .keras archive; in Keras, save the model as .h5 and convert that")
    programs = [name for name in archive.members if name.endswith("/data.pkl")]
    if len(programs) != 1 or programs[0].count("/") != 1:
        raise Refused("a zip archive, but not of torch.save: no single member <root>/data.pkl")
    root = programs[0].partition("/")[0]
    if f"{root}/constants.pkl" in archive.members:
        raise Refused(
            "a TorchScript archive, which is a program; in PyTorch, save the state_dict() of "
            "torch.jit.load(...) and convert that"
        )
    order: Order = "<"
    if f"{root}/byteorder" in archive.members:
        text = bytes(archive.read(f"{root}/byteorder")[:16]).strip()
        if text not in (b"little", b"big"):
            raise Refused(f"byte order {shown(text)}, expected little or big")
        order = "<" if text == b"little" else ">"
    program = io.BytesIO(bytes(archive.read(programs[0])))
    return read_pickle(program, budget, _Storages(archive, root, order))


def storage_kind(name: Any) -> str:
    """The type of values of the storage class that a file names.

    Raises: Refused.
    """
    if not isinstance(name, Name) or name.module.partition(".")[0] != "torch":
        raise Refused(f"a storage of class {shown(name)}")
    if name.name not in STORAGES:
        raise Refused(f"a storage of class {name}; its values cannot be read")
    return STORAGES[name.name]


@dataclass
class _Storages:
    """Makes the storage of each persistent id, once."""

    archive: _Archive
    root: str
    order: Order
    found: dict[tuple[str, str], Storage] = field(default_factory=dict)

    def __call__(self, identity: Any) -> Storage:
        if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
            raise Refused(f"an unknown persistent id, {shown(identity)}")
        _, kind, key, _, count = identity
        kind = storage_kind(kind)
        if not isinstance(key, str) or not key.isalnum() or not key.isascii():
            raise Refused(f"a storage called {shown(key)}")
        if (key, kind) not in self.found:
            member = f"{self.root}/data/{key}"
            if member not in self.archive.members:
                raise Refused(f"member {member!r} is missing")
            storage = Storage(kind, self.order, key, checked_count(count))
            content = self.archive.read(member)
            if storage.count * storage.itemsize > len(content):
                raise Refused(
                    f"member {member!r} has {len(content)} bytes, expected "
                    f"{storage.count * storage.itemsize}"
                )
            storage.content = content
            self.found[key, kind] = storage
        return self.found[key, kind]


def checked_count(count: Any) -> int:
    """The number of values that a file declares for a storage.

    Raises: Refused.
    """
    if type(count) is not int or not 0 <= count < 1 << 60:
        raise Refused(f"a storage of {shown(count)} values")
    return count


class _Careful(io.BytesIO):
    """The file as `zipfile` sees it: it cannot read a list of members that is too long."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _LIST_LIMIT:
            raise Refused(f"a zip archive with a list of members of {size} bytes")
        return super().read(size)


class _Archive:
    """The members of a zip archive that are stored as they are, each at a place of its own."""

    def __init__(self, content: bytes) -> None:
        if _END not in content[-(22 + 65535) :]:
            raise Refused("truncated: a zip archive without its end, the list of members")
        try:
            with zipfile.ZipFile(_Careful(content)) as archive:
                entries, self.limit = archive.infolist(), archive.start_dir
        except Refused:
            raise
        # Damaged fields lead to BadZipFile, NotImplementedError, struct.error, ValueError, ...
        except Exception as error:
            raise Refused(f"a damaged zip archive: {shown(str(error))}") from error
        self.content = memoryview(content)
        self.members: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            self._check(entry)
            self.members[entry.filename] = entry
        self._check_places(entries)
        self.sound: set[str] = set()

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = shown(entry.filename)
        parts = entry.filename.split("/")
        if entry.orig_filename != entry.filename or "\\" in entry.filename:
            raise Refused(f"member {name}: a name with odd characters")
        if ".." in parts or "." in parts or parts[0] == "" or ":" in parts[0]:
            raise Refused(f"member {name}: a path that leads elsewhere")
        if entry.filename in self.members:
            raise Refused(f"member {name}: is there twice")
        if entry.flag_bits & 1:
            raise Refused(f"member {name}: is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise Refused(f"member {name}: a member is compressed, which torch.save does not do")

    def _check_places(self, entries: Sequence[zipfile.ZipInfo]) -> None:
        """Every member is followed by the next, or by the list of members."""
        self.start: dict[str, int] = {}
        before, last = 0, "the beginning"
        for entry in sorted(entries, key=lambda item: item.header_offset):
            name, at = shown(entry.filename), entry.header_offset
            if at < before:
                raise Refused(f"member {name}: overlaps {last}")
            header = bytes(self.content[at : at + 30])
            if len(header) < 30 or header[:4] != SIGNATURE:
                raise Refused(f"member {name}: its header is damaged or missing")
            self.start[entry.filename] = at + 30 + sum(struct.unpack("<HH", header[26:]))
            before, last = self.start[entry.filename] + entry.file_size, f"member {name}"
            if before > self.limit:
                raise Refused(f"member {name}: truncated: it reaches beyond the archive")

    def read(self, name: str) -> memoryview:
        """The bytes of a member, whose checksum is verified once."""
        start = self.start[name]
        content = self.content[start : start + self.members[name].file_size]
        if name not in self.sound and zlib.crc32(content) != self.members[name].CRC:
            raise Refused(f"member {shown(name)}: its checksum differs: the file is damaged")
        self.sound.add(name)
        return content
