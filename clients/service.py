"""What the clients of AMS, Letta and LiteLLM share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, TypeVar

import msgspec

from clients.calls import AnswerSize, Call, CallScope, UpstreamRejected
from clients.decode import acknowledged, decode
from clients.errors import Service
from clients.upstream import Upstream

T = TypeVar("T")


class ServiceClient(ABC):
    """A client of one service."""

    service: ClassVar[Service]

    @staticmethod
    @abstractmethod
    def translate(rejected: UpstreamRejected) -> Exception:
        """Make the error for a refusal."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def note(self) -> str | None:
        """See ``HealthCheck``."""
        return None

    async def read(self, scope: CallScope, decoder: msgspec.json.Decoder[T], call: Call) -> T:
        """Make a call and decode its answer."""
        return decode(self.service, decoder, (await self.upstream.request(scope, call)).body)

    async def write(self, scope: CallScope, call: Call) -> None:
        """Make a call whose answer is not read."""
        check = acknowledged(self.service)
        await self.upstream.request(scope, replace(call, check=check, size=AnswerSize.RECORD))
