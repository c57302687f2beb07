"""Reads a streamed response with the gateway's client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from clients.litellm import Done, Piece, ResponseLabels, ResponseStream, Unreadable
from clients.upstream import StreamedAnswer
from clients.usage import Usage
from tests.support.response_events import KEY

LABELS = ResponseLabels(lambda response_id: f"ours-{response_id}", "ours-before")


@asynccontextmanager
async def sent(*chunks: bytes) -> AsyncIterator[StreamedAnswer]:
    async def each() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    yield StreamedAnswer({"x-litellm-call-id": "c"}, each())


async def read(*chunks: bytes, joins: bool = False) -> tuple[list[Piece | Unreadable | Done], Usage | None]:
    async with ResponseStream(sent(*chunks), KEY, LABELS, joins=joins) as stream:
        return [piece async for pieces in stream for piece in pieces], stream.usage


def said(pieces: list[Piece | Unreadable | Done]) -> tuple[str, str, list[tuple[int | None, str | None, str]]]:
    found = [piece for piece in pieces if isinstance(piece, Piece)]
    calls: dict[int | None, list[Any]] = {}
    for call in (call for piece in found for call in piece.calls):
        known = calls.setdefault(call.index, [None, ""])
        known[0] = known[0] or call.name
        known[1] += call.arguments
    listed = [(index, name, arguments) for index, (name, arguments) in calls.items()]
    return "".join(piece.text for piece in found), "".join(piece.reasoning for piece in found), listed
