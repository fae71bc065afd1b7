"""Rows of the layers on 3x3 matrices."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
