"""Decodes upstream answers to records, and makes the error for an answer that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self, TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import Service, UpstreamError

if TYPE_CHECKING:
    from clients.calls import Answer

T = TypeVar("T")

MAX_RECORDS, MAX_PAGE_RECORDS = 10_000, 1_000
"""The most records of a list, and of a page that was requested with a limit of 100."""

Records = Annotated[list[T], msgspec.Meta(max_length=MAX_RECORDS)]
Page = Annotated[list[T], msgspec.Meta(max_length=MAX_PAGE_RECORDS)]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that a msgspec decoder raises. Bytes that are not UTF-8 do not raise ``DecodeError``."""

_ANY = msgspec.json.Decoder()
_NAMES = {
    Service.AMS: "AMS",
    Service.LETTA: "Letta",
    Service.LITELLM: "LiteLLM",
    Service.SUPABASE: "Supabase",
    Service.REDIS: "Redis",
}


class OpenEnum(StrEnum):
    """An enum of values that a service sends. A value of a newer version of the service is ``UNKNOWN``."""

    @classmethod
    def _missing_(cls, value: object) -> Self:  # noqa: ARG003 - the protocol's signature
        return cls["UNKNOWN"]


def display_name(service: Service) -> str:
    """The service's name in messages."""
    return _NAMES[service]


def decode(service: Service, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode an upstream's answer. Raises UpstreamError (``DECODE``) if it is not JSON or has another shape."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise undecodable(service) from error


def acknowledged(service: Service) -> Callable[[Answer], Answer]:
    """A check for a call whose answer is not read: it must be empty, or JSON that does not report an error.

    A proxy's page, or an error with a 2xx status, does not confirm that the call was carried out.
    """

    def check(answer: Answer) -> Answer:
        if answer.body.strip():
            body = decode(service, _ANY, answer.body)
            if isinstance(body, dict) and body.get("error"):
                raise undecodable(service)
        return answer

    return check


def undecodable(service: Service) -> UpstreamError:
    """The error for an answer that cannot be read."""
    return UpstreamError(
        f"{display_name(service)} sent an answer that cannot be decoded.",
        reason=Reason.DECODE,
        service=service,
        can_retry=False,
    )
