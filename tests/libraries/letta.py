"""letta-client. ``url`` is Letta's, and ``model`` is the id of an agent whose model calls go through the gateway."""

from __future__ import annotations

from typing import Any

from letta_client import AsyncLetta

from tests.libraries.serving import Ask, Json, serve


def client(ask: Ask) -> AsyncLetta:
    return AsyncLetta(base_url=ask.url, api_key=ask.token)


def read(messages: list[Any]) -> Json:
    """Return the texts of the assistant, and the tool calls with their statuses."""
    said = [one.content for one in messages if one.message_type == "assistant_message"]
    called = [[one.tool_call.name] for one in messages if one.message_type == "tool_call_message"]
    statuses = [one.status for one in messages if one.message_type == "tool_return_message"]
    return {"text": "".join(said), "called": called, "statuses": statuses}


async def plain(ask: Ask) -> Json:
    async with client(ask) as sdk:
        answer = await sdk.agents.messages.create(agent_id=ask.model, messages=ask.messages)
    usage = {"input": answer.usage.prompt_tokens, "output": answer.usage.completion_tokens}
    return {**read(answer.messages), "usage": usage, "stop": answer.stop_reason.stop_reason}


async def tools(ask: Ask) -> Json:
    return await plain(ask)


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    result: Json = {}
    async with client(ask) as sdk:
        given: Json = {"agent_id": ask.model, "messages": ask.messages, "streaming": True, "stream_tokens": True}
        async with await sdk.agents.messages.create(**given) as frames:
            async for frame in frames:
                if frame.message_type == "assistant_message":
                    ask.texts.append(frame.content)
                    if leave and len(ask.texts) == 1:
                        await sdk.agents.messages.cancel(ask.model)
                elif frame.message_type == "usage_statistics":
                    result["usage"] = {"input": frame.prompt_tokens, "output": frame.completion_tokens}
                elif frame.message_type == "stop_reason":
                    result["stop"] = frame.stop_reason
                elif frame.message_type == "error_message":
                    result["told"] = f"error_message {frame.error_type}"
    return result


async def embeddings(ask: Ask) -> Json:
    async with client(ask) as sdk:
        await sdk.agents.passages.create(ask.model, text=ask.prompt)
        return {"passages": [one.text for one in await sdk.agents.passages.list(ask.model)]}


if __name__ == "__main__":
    serve(("letta-client",), plain, stream, tools, embeddings, abort)
