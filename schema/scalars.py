"""Scalars that are shown in a form of our own."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import strawberry

DECIMAL = strawberry.scalar(
    name="Decimal",
    description="A number in decimal digits, as text: exact, never in scientific notation.",
    serialize=lambda value: format(value, "f"),
    parse_value=Decimal,
)

DATE = strawberry.scalar(
    name="Date",
    description="A day of the calendar in UTC, as text: `2026-03-02`.",
    serialize=date.isoformat,
    parse_value=date.fromisoformat,
)
