"""Decodes services' answers, and reports answers that cannot be decoded."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Self, TypeVar

import msgspec

from clients.calls import Answer
from clients.codes import Reason
from clients.errors import Service, UpstreamError

T = TypeVar("T")

MAX_RECORDS, MAX_PAGE_RECORDS = 10_000, 1_000
"""The maximum number of records in a list, and in a page that was requested with a limit of 100."""

Records = Annotated[list[T], msgspec.Meta(max_length=MAX_RECORDS)]
Page = Annotated[list[T], msgspec.Meta(max_length=MAX_PAGE_RECORDS)]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that a msgspec decoder raises. Bytes that are not UTF-8 raise ``UnicodeDecodeError``."""

_ANY = msgspec.json.Decoder()
_NAMES = {
    Service.AMS: "AMS",
    Service.LETTA: "Letta",
    Service.LITELLM: "LiteLLM",
    Service.SUPABASE: "Supabase",
    Service.REDIS: "Redis",
}


class OpenEnum(StrEnum):
    """An enum that accepts unknown values from a service. Unknown values become ``UNKNOWN``."""

    @classmethod
    def _missing_(cls, value: object) -> Self:  # noqa: ARG003 - the protocol's signature
        return cls["UNKNOWN"]


def display_name(service: Service) -> str:
    """Return the service's name as it appears in error messages."""
    return _NAMES[service]


def decode(service: Service, decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a service's answer. Raises UpstreamError (``DECODE``) if the answer does not have the expected form."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise undecodable(service) from error


def acknowledged(service: Service) -> Callable[[Answer], Answer]:
    """Return a function that checks whether a service's answer confirms success.

    The answer's body must be empty, or must be JSON that reports no error. A proxy's page, or an error with a 2xx
    status, does not confirm that the service carried out the call.
    """

    def check(answer: Answer) -> Answer:
        if answer.body.strip():
            body = decode(service, _ANY, answer.body)
            if isinstance(body, dict) and body.get("error"):
                raise undecodable(service)
        return answer

    return check


def undecodable(service: Service) -> UpstreamError:
    """Return the error for an answer that the gateway cannot decode."""
    return UpstreamError(
        f"{display_name(service)} sent an answer that the gateway cannot decode. Report this error to the operator.",
        reason=Reason.DECODE,
        service=service,
        can_retry=False,
    )
