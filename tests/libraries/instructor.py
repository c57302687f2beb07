"""instructor."""

from __future__ import annotations

from typing import Any

import instructor
from openai import AsyncOpenAI

from tests.libraries.serving import Ask, Json, Town, serve, used


def client(ask: Ask, *, streams: bool = False) -> Any:
    chat = instructor.Mode.JSON_SCHEMA if streams else instructor.Mode.TOOLS
    sdk = AsyncOpenAI(base_url=ask.base, api_key=ask.token)
    return instructor.from_openai(sdk, mode=chat if ask.chats else instructor.Mode.RESPONSES_TOOLS)


async def structured(ask: Ask) -> Json:
    value = await client(ask).create(model=ask.model, messages=ask.messages, response_model=Town)
    return {"value": value.model_dump()}


async def refused(ask: Ask) -> Json:
    town = None if ask.model.startswith("agent-") else Town
    await client(ask).create(model=ask.model, messages=ask.messages, response_model=town, extra_body=ask.extra)
    return {}


async def plain(ask: Ask) -> Json:
    """Instructor's own client without a model of the answer."""
    whole = await client(ask).create(model=ask.model, messages=ask.messages, response_model=None, extra_body=ask.extra)
    return {"text": whole.choices[0].message.content if ask.chats else whole.output_text, "usage": used(whole.usage)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    if ask.model.startswith("agent-"):  # it streams only what has a model of the answer, which agents refuse
        return {"lacks": True}
    pieces = client(ask, streams=True).create_partial(model=ask.model, messages=ask.messages, response_model=Town)
    async for piece in pieces:
        before = "".join(ask.texts)
        if piece.city and piece.city != before:
            ask.texts.append(piece.city.removeprefix(before))
        if leave and ask.texts:
            break
    if leave:
        await pieces.aclose()
    return {}


if __name__ == "__main__":
    serve(("instructor", "openai"), plain, refused, stream, structured, abort)
