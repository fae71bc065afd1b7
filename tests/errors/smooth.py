"""What the smooth activations, softmax, elementary functions and the linear layer refuse."""

from __future__ import annotations

from tests.errors.common import Wrong

ERRORS: list[Wrong] = []
