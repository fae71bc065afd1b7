"""One row per public leaf and loss."""

from validation.cases import Row
from validation.rows.elementwise import ROWS as ELEMENTWISE
from validation.rows.losses import ROWS as LOSSES
from validation.rows.windows import ROWS as WINDOWS

ROWS: dict[str, Row] = {row.name: row for row in (*WINDOWS, *ELEMENTWISE, *LOSSES)}
"""Class name -> row."""

__all__ = ["ROWS"]
