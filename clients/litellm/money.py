"""Amounts of US dollars. LiteLLM writes binary floats; here they are decimal from the first byte on."""

from __future__ import annotations

from decimal import Decimal

from clients.decode import undecodable
from clients.errors import Service

_MILLION = 1_000_000
_GRAIN = Decimal("1e-12")


_EXACT = Decimal(10) ** 15
"""Amounts from here on have no noise that could be seen, and too many digits to be rounded."""


def dollars(amount: Decimal) -> Decimal:
    """An amount without the noise of binary sums: to a millionth of a millionth of a dollar, no zeros at its end.

    Raises:
        UpstreamError: reason ``DECODE``, for what is no amount, such as NaN.
    """
    if not amount.is_finite():
        raise undecodable(Service.LITELLM)
    return (amount if abs(amount) >= _EXACT else amount.quantize(_GRAIN)).normalize()


def per_million(per_token: Decimal | None) -> Decimal | None:
    """The price of a million tokens, from the price of one as LiteLLM wrote it; ``None`` for what is no price."""
    if per_token is None or not per_token.is_finite():
        return None
    return (per_token * _MILLION).normalize()
