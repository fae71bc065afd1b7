"""Rows of the blind-spot losses."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
