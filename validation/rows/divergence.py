"""Rows of the divergences and the contrastive loss."""

from __future__ import annotations

from validation.cases import Row

ROWS: list[Row] = []
