"""The base class of the clients of AMS, Letta and LiteLLM."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeVar

import msgspec
from msgspec.structs import replace

from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamRejected
from clients.decode import acknowledged, decode
from clients.errors import Service
from clients.upstream import Upstream

T = TypeVar("T")


class ServiceClient(ABC):
    """The base class of the clients of AMS, Letta and LiteLLM."""

    service: ClassVar[Service]

    @staticmethod
    @abstractmethod
    def translate(rejected: UpstreamRejected) -> Exception:
        """Return the error for a call that the service refused."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def note(self) -> str | None:
        """Describe a problem with the service in a sentence. Returns ``None`` if no problem is known."""
        return None

    async def read(self, scope: CallScope, decoder: msgspec.json.Decoder[T], call: Call) -> T:
        """Send a request to the service, and decode the answer."""
        return await self.parsed(scope, call, partial(decode, self.service, decoder))

    async def parsed(self, scope: CallScope, call: Call, parse: Callable[[bytes], T]) -> T:
        """Send a request to the service, and parse the answer's body.

        If ``parse`` raises UpstreamError, the circuit breakers count a failure.
        """
        found: list[T] = []

        def check(answer: Answer) -> Answer:
            found.append(parse(answer.body))
            return answer

        await self.upstream.request(scope, replace(call, check=check))
        return found[-1]

    async def write(self, scope: CallScope, call: Call) -> None:
        """Send a request to the service, and check that the answer reports no error."""
        check = acknowledged(self.service)
        await self.upstream.request(scope, replace(call, check=check, size=AnswerSize.RECORD))
