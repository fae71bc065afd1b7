"""What a long job prints: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

STYLES = ("auto", "bar", "lines", "none")


class Sink:
    """A text stream that may go away: what is written after that is dropped, and `lost` is True.

    The reader of a pipe ends, a terminal is closed: no reason for a long job to end as well.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` None is lost from the beginning."""
        self._stream, self.lost = stream, stream is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._try(lambda stream: stream.isatty()) is True

    def write(self, text: str) -> int:
        """Write, unless the stream is lost; characters that it cannot encode are escaped."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        whole = text.encode(encoding, "backslashreplace").decode(encoding)
        self._try(lambda stream: stream.write(whole))
        return len(text)

    def flush(self) -> None:
        """Flush, unless the stream is lost."""
        self._try(lambda stream: stream.flush())

    def _try(self, act: Callable[[TextIO], Any]) -> Any:
        if self._stream is None or self.lost:
            return None
        try:
            return act(self._stream)
        except (OSError, ValueError):  # ValueError: the file has been closed
            self.lost = True
            return None


class Progress:
    """Shows step, loss, PSNR, images/s and time left.

    style: "bar", "lines", "none", or "auto": a bar when the stream is a terminal, else lines.
    stream: where to; None for the standard output. interval: seconds between plain lines.
    announce: whether a job prints the device as its first line (a caller may have done so).
    unit: what its speed is told in.

    A stream that goes away is no error: `style` becomes "none", and `lost` tells.
    """

    def __init__(
        self,
        style: str = "auto",
        stream: TextIO | None = None,
        interval: float = 5.0,
        announce: bool = True,
        unit: str = "images",
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"progress: expected one of {', '.join(STYLES)}, got {style!r}")
        self._sink = Sink(stream if stream is not None else sys.stdout)
        terminal = self._sink.isatty()
        self.style = ("bar" if terminal else "lines") if style == "auto" else style
        self.interval, self.announce, self.unit = interval, announce, unit
        self._loss: float | None = None
        self._psnr: float | None = None
        self._bar: Any = None

    @property
    def lost(self) -> bool:
        """Whether the stream has gone away."""
        return self._sink.lost

    def say(self, text: str) -> None:
        """Print a line (above the bar)."""
        if self.style == "none":
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._sink.write(text + "\n")
            self._sink.flush()
        self._end_if_lost()

    def start(self, steps: int, done: int) -> None:
        """Begin at step `done` of `steps`."""
        self._steps, self._first, self._begun = steps, done, time.monotonic()
        self._printed = self._begun
        self._images = 0
        if self.style == "bar":
            self._bar, self._task = _bar(self._sink, steps, done)

    def step(self, step: int, images: int) -> None:
        """Tell that `step` steps are done; the last one saw `images` images."""
        self._images += images
        self._end_if_lost()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, words=self._words(step))
        elif self.style == "lines" and time.monotonic() - self._printed >= self.interval:
            self._printed = time.monotonic()
            self.say(f"step {step}/{self._steps}  {self._words(step)}  {self._left(step)}")

    def show(self, loss: float | None = None, psnr: float | None = None) -> None:
        """New values to display: the loss, and the validation PSNR in dB."""
        self._loss = self._loss if loss is None else loss
        self._psnr = self._psnr if psnr is None else psnr

    def stop(self) -> None:
        """End the display."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _end_if_lost(self) -> None:
        if self.lost and self.style != "none":
            self.stop()
            self.style = "none"

    def _words(self, step: int) -> str:
        speed = self._images / max(time.monotonic() - self._begun, 1e-9)
        loss = "" if self._loss is None else f"loss {self._loss:.5f}  "
        psnr = "" if self._psnr is None else f"PSNR {self._psnr:.2f} dB  "
        return f"{loss}{psnr}{speed:.0f} {self.unit}/s"

    def _left(self, step: int) -> str:
        seconds = time.monotonic() - self._begun
        left = seconds / max(step - self._first, 1) * (self._steps - step)
        return f"{int(left) // 60}:{int(left) % 60:02d} left"


def _bar(stream: Any, steps: int, done: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(file=stream),
        refresh_per_second=4,
    )
    task = bar.add_task("train", total=steps, completed=done, words="")
    bar.start()
    return bar, task
