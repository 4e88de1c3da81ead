"""Rows of a query as plain tuples.

Place: used by the reads of this package; the one place where the query builder's types end. It must never write.
"""

from __future__ import annotations

from typing import Any


def rows_of(select: Any) -> list[tuple[Any, ...]]:
    """Run a query and return its rows."""
    return list(select.tuples())


def first_of(select: Any) -> tuple[Any, ...] | None:
    """Run a query and return its first row."""
    row: tuple[Any, ...] | None = select.tuples().first()
    return row
