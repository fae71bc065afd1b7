"""The run folder: what a training run leaves on the disk, and how it is kept whole.

    config.toml         the effective recipe; `zoo train RUN/config.toml` replays it
    log.jsonl           one JSON object a line, the same in every run of the recipe
    timing.jsonl        wall-clock times and speeds, different in every run
    checkpoints/        the last two, one safetensors file each
    model.safetensors   the network, for `zoo.load`
    run.lock            held while a process trains here

A checkpoint records how long both logs were when it was written. After a kill the newest one that
is whole is taken up, the logs are cut to those lengths, and training writes the same lines again.
Nothing depends on timing.jsonl: it may be damaged or missing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from minigrad import checkpoint
from minigrad.files import write_whole
from zoo.training.disk import TrainError, disk
from zoo.training.log import Log, Timing

KEPT = 2  # checkpoints
MAX_BYTES = 8 << 30  # of one checkpoint


@dataclass(frozen=True)
class Found:
    """A checkpoint that can be taken up, and why newer ones cannot.

    passed: newer checkpoints, each with the reason.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]
    passed: list[tuple[Path, str]]


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
        if folder.exists() and not folder.is_dir():
            raise TrainError(f"{folder}: expected an absent or empty folder, is a file", 2)
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_occupied(folder)  # before a file of ours appears in it
            run._acquire()
            try:
                _refuse_occupied(folder)
                write_whole(run.config, config)
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
            for leftover in itertools.chain(folder.glob(".*.partial"), folder.glob("*/.*.partial")):
                leftover.unlink()
        run._open()
        return run

    def _open(self) -> None:
        self.log = Log(self.folder / "log.jsonl")
        self.timing = Timing(self.folder / "timing.jsonl")

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
            for old in self.steps()[KEPT:]:
                old.unlink()

    def forget_checkpoints(self) -> None:
        """Remove all of them: training begins anew. Killed now, it is repeated from its begin."""
        for path in self.steps():
            with disk(path):
                path.unlink()

    def newest(self) -> Found | None:
        """The newest checkpoint to go on from; None when there is none yet. Changes nothing.

        One is passed over when it cannot be read, or when the log ends before the line that it was
        written after. Raises TrainError when all of those that are there are passed over.
        """
        passed: list[tuple[Path, str]] = []
        length = self.log.length()
        for path in self.steps():
            try:
                arrays, text = checkpoint.load(path, max_bytes=MAX_BYTES)
                state = json.loads(text["state"])
                recorded = int(state["log_bytes"])
            except (checkpoint.CheckpointError, KeyError, TypeError, ValueError) as error:
                passed.append((path, str(error).removeprefix(f"{path}: ") or "no state in it"))
                continue
            if length >= recorded:
                return Found(path, arrays, state, passed)
            passed.append((path, f"{self.log.path.name} has {length} bytes, it needs {recorded}"))
        if passed:
            told = "; ".join(f"{path.name}: {reason}" for path, reason in passed)
            raise TrainError(f"{self.folder}: no checkpoint can be taken up: {told}")
        return None

    def take_up(self, found: Found | None) -> list[str]:
        """Cut the logs to a checkpoint, or to nothing; what was done to newer ones, a line each.

        A checkpoint that was passed over is renamed: the run will write another in its place.
        """
        state = {} if found is None else found.state
        self.log.cut(state.get("log_bytes", 0))
        self.timing.cut(state.get("timing_bytes", 0))
        lines = []
        for path, reason in found.passed if found else []:
            aside = path.with_name(f"{path.name}.passed-over")
            with disk(path):
                path.replace(aside)
            lines.append(f"passed over {path.name} ({reason}); it is now {aside.name}")
        return lines

    def steps(self) -> list[Path]:
        """Checkpoint files, newest first."""
        named = re.compile(r"step-\d{9}\.safetensors")
        return sorted(p for p in self.checkpoints.iterdir() if named.fullmatch(p.name))[::-1]


def recorded_device(folder: str | Path) -> str:
    """The device of the newest checkpoint in a run folder; "auto" when there is none yet.

    Raises TrainError: not a run folder.
    """
    run = Run(Path(folder))
    if not run.config.is_file():
        raise TrainError(f"{folder}: not a run folder, config.toml is missing", exit_code=2)
    for path in run.steps() if run.checkpoints.is_dir() else []:
        # Only the header is read here; a file that is damaged is told of when it is taken up.
        with contextlib.suppress(SafetensorError, OSError, KeyError, TypeError, ValueError):
            with safe_open(path, framework="numpy") as file:
                return str(json.loads(file.metadata()["state"])["environment"]["device"])
    return "auto"


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
