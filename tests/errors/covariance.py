"""What the layers on 3x3 matrices refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
