"""Rows of the layers that draw random numbers."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
