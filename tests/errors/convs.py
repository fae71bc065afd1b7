"""What the convolutions with masks and with asymmetric borders refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
