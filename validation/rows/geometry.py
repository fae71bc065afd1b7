"""Rows of the layers that move, pad, cut, reshape and average."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
