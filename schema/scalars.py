"""Custom scalars."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

import msgspec
import strawberry
from strawberry.schema.types.base_scalars import DateTimeDefinition

from clients.timestamps import in_utc

_MAX_DIGITS = 40
_ENCODE = msgspec.json.Encoder().encode


def _decimal(value: object) -> Decimal:
    """Parse a decimal number from a string or number. A number's shortest decimal form counts."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("A Decimal is a string or a number.")  # noqa: TRY004 - the engine reports the message
    text = str(value)
    try:
        return Decimal(text if len(text) <= _MAX_DIGITS else "too long")
    except InvalidOperation as error:
        raise ValueError(f"A Decimal has at most {_MAX_DIGITS} characters, such as 0.000125.") from error


DECIMAL = strawberry.scalar(
    name="Decimal",
    description='An exact decimal number as a string, such as `"0.000125"`. The string never has an exponent.',
    serialize=lambda value: format(value, "f"),
    parse_value=_decimal,
)

DATE = strawberry.scalar(
    name="Date",
    description="A calendar date in UTC, such as `2026-03-02`.",
    serialize=date.isoformat,
    parse_value=date.fromisoformat,
)


def _rfc_3339(moment: datetime) -> str:
    """Return a time like ``isoformat``, which takes four times as long."""
    utc = moment if moment.tzinfo is UTC else in_utc(moment)
    return _ENCODE(utc)[1:-2].decode() + "+00:00"


DATE_TIME = replace(
    DateTimeDefinition,
    serialize=_rfc_3339,
    description="A date and time in UTC (RFC 3339), such as `2026-03-02T09:30:00+00:00`. The value has fractions of a "
    "second if the gateway knows them.",
)
