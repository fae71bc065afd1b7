"""What the normalisations refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
