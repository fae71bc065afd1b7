"""One progress display for several passes over a picture."""

from __future__ import annotations

from zoo.inference import tiling


class Counter:
    """Adds the tiles of several passes up for one progress display."""

    def __init__(self, progress: tiling.Progress | None, passes: int) -> None:
        self.progress, self.passes, self.current = progress, passes, -1

    def start(self) -> tiling.Progress | None:
        """Begin the next pass; returns what that pass reports to."""
        if self.progress is None:
            return None
        self.current += 1
        current, report = self.current, self.progress

        def tell(done: int, total: int) -> None:
            report(current * total + done, max(self.passes, current + 1) * total)

        return tell
