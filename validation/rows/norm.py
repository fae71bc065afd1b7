"""Rows of the normalisations."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
