"""What the divergences and the contrastive loss refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
