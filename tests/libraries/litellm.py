"""LiteLLM's SDK."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import litellm

from tests.libraries.serving import PARAMETERS, RESULT, TEXTS, TOOL, Ask, Json, Town, serve, used


def there(ask: Ask) -> Json:
    return {"model": f"openai/{ask.model}", "api_base": ask.base, "api_key": ask.token}


def text_of(answer: Any) -> str:
    return "".join(part.text for item in answer.output if item.type == "message" for part in item.content)


async def models(ask: Ask) -> Json:
    given = {"check_provider_endpoint": True, "custom_llm_provider": "openai", "api_key": ask.token}
    listed = await asyncio.to_thread(litellm.get_valid_models, **given, api_base=ask.base)
    return {"listed": [name.removeprefix("openai/") for name in listed]}


async def plain(ask: Ask) -> Json:
    if ask.chats:
        whole = await litellm.acompletion(**there(ask), messages=ask.messages, extra_body=ask.extra)
        return {"text": whole.choices[0].message.content, "usage": used(whole.usage)}
    answer = await litellm.aresponses(**there(ask), input=ask.prompt, extra_body=ask.extra)
    return {"text": text_of(answer), "usage": used(answer.usage)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    usage = None
    if ask.chats:
        options = {"include_usage": True}
        pieces = await litellm.acompletion(**there(ask), messages=ask.messages, stream=True, stream_options=options)
    else:
        pieces = await litellm.aresponses(**there(ask), input=ask.prompt, stream=True)
    if leave and not hasattr(pieces, "aclose"):  # the answer is complete: LiteLLM has not asked for a stream
        return {"lacks": True}
    async for piece in pieces:
        if ask.chats:
            usage = used(getattr(piece, "usage", None)) or usage
            ask.texts += [choice.delta.content for choice in piece.choices if choice.delta.content]
        elif piece.type == "response.output_text.delta":
            ask.texts.append(piece.delta)
        elif piece.type == "response.completed":
            usage = used(piece.response.usage)
        elif piece.type in {"response.failed", "response.incomplete", "error"}:
            return {"told": f"event `{piece.type}`"}
        if leave and ask.texts:
            break
    if leave:
        await pieces.aclose()
    return {"usage": usage, "late": not hasattr(pieces, "aclose")}


async def tools(ask: Ask) -> Json:
    called: list[Any] = []
    given: list[Any] = [*ask.messages]
    while True:
        if ask.chats:
            tool: Json = {"type": "function", "function": {"name": TOOL, "parameters": PARAMETERS}}
            message = (await litellm.acompletion(**there(ask), messages=given, tools=[tool])).choices[0].message
            calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []]
            text, said = message.content, [message]
        else:
            tool = {"type": "function", "name": TOOL, "parameters": PARAMETERS}
            answer = await litellm.aresponses(**there(ask), input=given, tools=[tool])
            calls = [(one.call_id, one.name, one.arguments) for one in answer.output if one.type == "function_call"]
            text, said = text_of(answer), [one.model_dump(exclude_none=True) for one in answer.output]
        if not calls:
            return {"text": text, "called": called}
        given += said
        for call_id, name, arguments in calls:
            called.append([name, json.loads(arguments)])
            if ask.chats:
                given.append({"role": "tool", "tool_call_id": call_id, "content": RESULT})
            else:
                given.append({"type": "function_call_output", "call_id": call_id, "output": RESULT})


async def structured(ask: Ask) -> Json:
    if ask.chats:
        whole = await litellm.acompletion(**there(ask), messages=ask.messages, response_format=Town)
        text = whole.choices[0].message.content
    else:
        text = text_of(await litellm.aresponses(**there(ask), input=ask.prompt, text_format=Town))
    return {"value": Town.model_validate_json(text).model_dump()}


async def embeddings(ask: Ask) -> Json:
    answer = await litellm.aembedding(**there(ask), input=TEXTS)
    return {"vectors": [one["embedding"] for one in answer.data]}


if __name__ == "__main__":
    serve(("litellm",), models, plain, stream, tools, structured, embeddings, abort)
