"""What a long job prints: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

STYLES = ("auto", "bar", "lines", "none")


class Progress:
    """Shows step, loss, PSNR, images/s and time left.

    style: "bar", "lines", "none", or "auto": a bar when the stream is a terminal, else lines.
    stream: where to; None for the standard output. interval: seconds between plain lines.
    announce: whether a job prints the device as its first line (a caller may have done so).
    """

    def __init__(
        self,
        style: str = "auto",
        stream: TextIO | None = None,
        interval: float = 5.0,
        announce: bool = True,
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"progress: expected one of {', '.join(STYLES)}, got {style!r}")
        self.stream = stream if stream is not None else sys.stdout
        terminal = getattr(self.stream, "isatty", lambda: False)()
        self.style = ("bar" if terminal else "lines") if style == "auto" else style
        self.interval, self.announce = interval, announce
        self._loss: float | None = None
        self._psnr: float | None = None
        self._bar: Any = None

    def say(self, text: str) -> None:
        """Print a line (above the bar)."""
        if self.style == "none":
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)

    def start(self, steps: int, done: int) -> None:
        """Begin at step `done` of `steps`."""
        self._steps, self._first, self._begun = steps, done, time.monotonic()
        self._printed = self._begun
        self._images = 0
        if self.style == "bar":
            self._bar, self._task = _bar(self.stream, steps, done)

    def step(self, step: int, images: int) -> None:
        """Tell that `step` steps are done; the last one saw `images` images."""
        self._images += images
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

    def _words(self, step: int) -> str:
        speed = self._images / max(time.monotonic() - self._begun, 1e-9)
        loss = "" if self._loss is None else f"loss {self._loss:.5f}  "
        psnr = "" if self._psnr is None else f"PSNR {self._psnr:.2f} dB  "
        return f"{loss}{psnr}{speed:.0f} images/s"

    def _left(self, step: int) -> str:
        seconds = time.monotonic() - self._begun
        left = seconds / max(step - self._first, 1) * (self._steps - step)
        return f"{int(left) // 60}:{int(left) % 60:02d} left"


def _bar(stream: TextIO, steps: int, done: int) -> tuple[Any, Any]:
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
