"""Rows of the likelihoods."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
