"""The two logs of a run: lines of JSON that are appended, and cut when a run goes back."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from zoo.training.disk import TrainError, disk


class Log:
    """A file of JSON lines, appended, whose length can be recorded and restored."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; it is made when it is not there."""
        self.path = path
        with disk(path):
            self._file: IO[bytes] = open(path, "ab", buffering=0)  # noqa: SIM115

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; a number that is not finite becomes null."""
        line = json.dumps({key: _finite(value) for key, value in record.items()}, allow_nan=False)
        with disk(self.path):
            rest = memoryview(line.encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) or 0 :]

    def sync(self) -> int:
        """Flush to the disk; the length in bytes."""
        with disk(self.path):
            os.fsync(self._file.fileno())
            return self.length()

    def length(self) -> int:
        """The length in bytes."""
        with disk(self.path):
            return os.fstat(self._file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Drop what follows the first `length` bytes."""
        with disk(self.path):
            if self.length() > length:
                self._file.truncate(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Timing(Log):
    """Wall-clock times. Nothing depends on them: whatever happens to the file ends no training."""

    def __init__(self, path: Path) -> None:
        """Open `path`; where that is refused, what is written goes nowhere."""
        try:
            super().__init__(path)
        except TrainError:
            super().__init__(Path(os.devnull))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record, if the disk takes it."""
        with contextlib.suppress(TrainError):
            super().write(record)

    def sync(self) -> int:
        """Flush to the disk if it takes it; the length in bytes."""
        with contextlib.suppress(TrainError):
            return super().sync()
        return 0

    def cut(self, length: int) -> None:
        """Drop what follows the first `length` bytes, if the disk lets us."""
        with contextlib.suppress(TrainError):
            super().cut(length)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
