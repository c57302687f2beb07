"""Amounts of US dollars. LiteLLM sends binary floats; the gateway decodes them as decimals."""

from __future__ import annotations

from decimal import Decimal

from clients.decode import undecodable
from clients.errors import Service

_MILLION = 1_000_000
_GRAIN = Decimal("1e-12")
_EXACT = Decimal(10) ** 15
"""Larger amounts have no visible noise, and too many digits to be rounded."""


def dollars(amount: Decimal) -> Decimal:
    """Round an amount to 1e-12 dollars, which removes the noise of binary sums, without trailing zeros.

    Raises UpstreamError (``DECODE``) if it is not finite.
    """
    if not amount.is_finite():
        raise undecodable(Service.LITELLM)
    return (amount if abs(amount) >= _EXACT else amount.quantize(_GRAIN)).normalize()


def per_million(per_token: Decimal | None) -> Decimal | None:
    """The price of a million tokens, from LiteLLM's price of one; ``None`` if it is not finite."""
    if per_token is None or not per_token.is_finite():
        return None
    return (per_token * _MILLION).normalize()
