"""Amounts of US dollars. LiteLLM writes binary floats; here they are decimal from the first byte on."""

from __future__ import annotations

from decimal import Decimal

_MILLION = 1_000_000
_GRAIN = Decimal("1e-12")


def dollars(amount: Decimal) -> Decimal:
    """An amount without the noise of binary sums: to a millionth of a millionth of a dollar, no zeros at its end."""
    return amount.quantize(_GRAIN).normalize()


def per_million(per_token: Decimal | None) -> Decimal | None:
    """The price of a million tokens, from the price of one as LiteLLM wrote it."""
    return None if per_token is None else (per_token * _MILLION).normalize()
