"""How training fails: one exception, and what makes it of a refusal of the disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from minigrad import checkpoint


class TrainError(RuntimeError):
    """Training could not start or go on; the message names the file or the setting.

    `exit_code` is what a command line ends with: 1 the work failed, 2 wrong input, 3 disk.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn a refusal of the disk into a TrainError that names `path` and the free space."""
    try:
        yield
    except (OSError, checkpoint.CheckpointError) as error:
        reason = str(getattr(error, "strerror", "") or error)
        where = getattr(error, "filename", None) or path
        text = reason if str(path) in reason else f"{where}: {reason}"
        raise TrainError(f"{text}{_free(path)}", exit_code=3) from error


def _free(path: Path) -> str:
    existing = next((p for p in (path, *path.parents) if p.is_dir()), None)
    if existing is None:
        return ""
    with contextlib.suppress(OSError):
        return f" ({shutil.disk_usage(existing).free / 1e6:,.0f} MB free)"
    return ""
