"""Bytes to records: one place where an upstream's answer is decoded, and where a bad one becomes an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import Service, UpstreamError

if TYPE_CHECKING:
    from clients.calls import Answer

T = TypeVar("T")

MAX_RECORDS, MAX_PAGE_RECORDS = 10_000, 1_000
"""How many records are read of a list, and of a page that was asked for with a limit of 100."""

Records = Annotated[list[T], msgspec.Meta(max_length=MAX_RECORDS)]
Page = Annotated[list[T], msgspec.Meta(max_length=MAX_PAGE_RECORDS)]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a msgspec decoder raises for bytes that it cannot read; bytes that are no UTF-8 raise no ``DecodeError``."""

_ANY = msgspec.json.Decoder()
_NAMES = {
    Service.AMS: "AMS",
    Service.LETTA: "Letta",
    Service.LITELLM: "LiteLLM",
    Service.SUPABASE: "Supabase",
    Service.REDIS: "Redis",
}


def display_name(service: Service) -> str:
    """The service's name as people write it, for messages."""
    return _NAMES[service]


def decode(service: Service, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode an upstream's answer.

    Raises:
        UpstreamError: reason ``DECODE``, when the body is no JSON or not of the expected shape.
    """
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise undecodable(service) from error


def acknowledged(service: Service) -> Callable[[Answer], Answer]:
    """A check for a call whose answer is not read: nothing, or JSON that does not report an error.

    A proxy's page, or an error under a 2xx, says nothing of whether the call was carried out.
    """

    def check(answer: Answer) -> Answer:
        if answer.body.strip():
            said = decode(service, _ANY, answer.body)
            if isinstance(said, dict) and said.get("error"):
                raise undecodable(service)
        return answer

    return check


def undecodable(service: Service) -> UpstreamError:
    """The error for an answer that cannot be understood."""
    return UpstreamError(
        f"{display_name(service)} sent an answer that cannot be decoded.",
        reason=Reason.DECODE,
        service=service,
        can_retry=False,
    )
