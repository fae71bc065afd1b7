"""What the layers that move, pad, cut, reshape and average refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
