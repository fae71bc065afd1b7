"""Files that appear whole or not at all, whenever the process or the machine stops.

    write_whole("run/config.toml", text)
    with replacing("clean/photo.png") as file:
        image.save(file, "PNG")

Writing goes to a temporary file in the same folder (`.NAME.XXXXXXXX.partial`), which is flushed to
the disk and renamed over the old one; then the folder is flushed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing, that takes the place of `path` at the end of the block.

    Raises: OSError when the disk refuses. After that, and after any error inside the block, an old
    file is as it was and no temporary one is left; only when the very last act fails, the flush of
    the folder, is the new file already in its place.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        # Not tempfile: its files are private, and these should follow the umask.
        with open(temporary, "xb", opener=lambda name, how: os.open(name, how, 0o666)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write bytes, or text as UTF-8, to `path` as one act. Raises: OSError, as `replacing`."""
    rest = memoryview(content.encode() if isinstance(content, str) else content)
    with replacing(path) as file:
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without this service
            raise
    finally:
        os.close(descriptor)
