"""Rows of the smooth activations, softmax, elementary functions and the linear layer."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
