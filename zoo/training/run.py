"""The run folder: what a training run leaves on the disk, and how it is kept whole.

    config.toml         the effective recipe; `zoo train RUN/config.toml` replays it
    log.jsonl           one JSON object a line, the same in every run of the recipe
    timing.jsonl        wall-clock times and speeds, different in every run
    checkpoints/        the last two, one safetensors file each
    model.safetensors   the network, for `zoo.load`
    run.lock            held while a process trains here

A checkpoint records how long both logs were when it was written. After a kill the newest one that
is whole is taken up, the logs are cut to those lengths, and training writes the same lines again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from minigrad import checkpoint

KEPT = 2  # checkpoints
MAX_BYTES = 8 << 30  # of one checkpoint


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
            return os.fstat(self._file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Drop what follows the first `length` bytes; TrainError when there are fewer."""
        with disk(self.path):
            size = os.fstat(self._file.fileno()).st_size
            if size < length:
                raise TrainError(
                    f"{self.path}: expected at least the {length} bytes that the checkpoint "
                    f"recorded, found {size}"
                )
            self._file.truncate(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Run:
    """A run folder, locked while it is open: `with Run.create(...) as run:`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.checkpoints = folder / "checkpoints"
        self.weights = folder / "model.safetensors"
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, folder: Path, config: str) -> Run:
        """A new run in `folder`, which must be absent or empty; `config` is its recipe as TOML.

        Raises TrainError: the folder holds something, or cannot be written.
        """
        run = cls(folder)
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_occupied(folder)  # before a file of ours appears in it
            run._acquire()
            try:
                _refuse_occupied(folder)
                write_text(run.config, config)
                run.checkpoints.mkdir()
            except BaseException:
                run._release()
                raise
        run._open()
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run in `folder`; TrainError: there is none, or another process trains there."""
        run = cls(folder)
        if not run.config.is_file():
            raise TrainError(f"{folder}: not a run folder, config.toml is missing", exit_code=2)
        with disk(folder):
            run._acquire()
            run.checkpoints.mkdir(exist_ok=True)
            for leftover in [*folder.glob(".*.partial"), *run.checkpoints.glob(".*.partial")]:
                leftover.unlink()
        run._open()
        return run

    def _open(self) -> None:
        self.log = Log(self.folder / "log.jsonl")
        self.timing = Log(self.folder / "timing.jsonl")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        self.timing.close()
        self._release()

    # --- the lock -----------------------------------------------------------------------------

    def _acquire(self) -> None:
        # The system drops this lock when the process dies, however it dies.
        self._lock = open(self.folder / "run.lock", "a+")  # noqa: SIM115
        try:
            _lock_file(self._lock)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            self._lock.close()
            self._lock = None
            raise TrainError(f"{self.folder}: {holder} is training in this folder", 2) from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()}\n")
        self._lock.flush()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- checkpoints --------------------------------------------------------------------------

    def save(self, step: int, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`; older ones than the last two go.

        The logs are flushed first: a checkpoint never speaks of lines that are not on the disk.
        """
        lengths = {"log_bytes": self.log.sync(), "timing_bytes": self.timing.sync()}
        text = {"state": json.dumps({**state, **lengths}, sort_keys=True)}
        path = self.checkpoints / f"step-{step:09d}.safetensors"
        with disk(path):
            checkpoint.save(path, arrays, text)
            for old in self._steps()[KEPT:]:
                old.unlink()

    def restore(self, cut: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and state of the newest checkpoint that is whole, the logs cut to it.

        cut: False leaves logs and files as they are. None, and empty logs, when there is no
        checkpoint yet. Raises TrainError when none of those that are there can be read.
        """
        problems = []
        for path in self._steps():
            try:
                arrays, text = checkpoint.load(path, max_bytes=MAX_BYTES)
                state = json.loads(text["state"])
                if cut:
                    self.log.cut(state["log_bytes"])
                    self.timing.cut(state["timing_bytes"])
            except (checkpoint.CheckpointError, KeyError, ValueError, TrainError) as error:
                problems.append(str(error))
                continue
            for newer in self._steps():
                if cut and newer > path:
                    newer.unlink()  # unreadable: the run will write it again
            return arrays, state
        if problems:
            raise TrainError(f"{self.folder}: no checkpoint can be read: {'; '.join(problems)}")
        if cut:
            self.log.cut(0)
            self.timing.cut(0)
        return None

    def _steps(self) -> list[Path]:
        """Checkpoint files, newest first."""
        named = re.compile(r"step-\d{9}\.safetensors")
        return sorted(p for p in self.checkpoints.iterdir() if named.fullmatch(p.name))[::-1]


def _refuse_occupied(folder: Path) -> None:
    ours = re.compile(r"run\.lock|\..*\.partial")  # of a start that was killed
    found = sorted(p.name for p in folder.iterdir() if not ours.fullmatch(p.name))
    if "config.toml" in found:
        message = "holds a run already; resume it, or choose another folder"
        raise TrainError(f"{folder}: {message}", exit_code=2)
    if found:
        listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        message = f"expected an absent or empty folder, found {listed}"
        raise TrainError(f"{folder}: {message}", exit_code=2)


def _lock_file(file: IO[str]) -> None:
    """Take an exclusive lock on the open file, or raise OSError at once."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_text(path: Path, text: str) -> None:
    """Write a small text file as one act: a temporary file, flushed and renamed."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
