"""Rows of the convolutions with masks and with asymmetric borders."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
