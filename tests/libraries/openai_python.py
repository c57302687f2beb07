"""openai-python."""

from __future__ import annotations

import json
from typing import Any

from openai import AsyncOpenAI

from tests.libraries.serving import PARAMETERS, RESULT, TEXTS, TOOL, Ask, Json, Town, serve, used


def client(ask: Ask) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=ask.base, api_key=ask.token)


async def models(ask: Ask) -> Json:
    async with client(ask) as sdk:
        listed = [model.id async for model in sdk.models.list()]
        return {"listed": listed, "retrieved": (await sdk.models.retrieve(ask.model)).id}


async def plain(ask: Ask) -> Json:
    async with client(ask) as sdk:
        if ask.chats:
            whole = await sdk.chat.completions.create(model=ask.model, messages=ask.messages, extra_body=ask.extra)
            return {"text": whole.choices[0].message.content, "usage": used(whole.usage)}
        answer = await sdk.responses.create(model=ask.model, input=ask.prompt, extra_body=ask.extra)
        return {"text": answer.output_text, "usage": used(answer.usage)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    usage = None
    async with client(ask) as sdk:
        if ask.chats:
            options = {"include_usage": True}
            async with await sdk.chat.completions.create(
                model=ask.model, messages=ask.messages, stream=True, stream_options=options
            ) as chunks:
                async for chunk in chunks:
                    usage = used(chunk.usage) or usage
                    ask.texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                    if leave and ask.texts:
                        break
        else:
            async with await sdk.responses.create(model=ask.model, input=ask.prompt, stream=True) as events:
                async for event in events:
                    if event.type == "response.output_text.delta":
                        ask.texts.append(event.delta)
                    elif event.type == "response.completed":
                        usage = used(event.response.usage)
                    elif event.type in {"response.failed", "response.incomplete"}:
                        return {"told": f"event `{event.type}`"}
                    if leave and ask.texts:
                        break
    return {"usage": usage}


async def tools(ask: Ask) -> Json:
    async with client(ask) as sdk:
        return await (chat_tools(sdk, ask) if ask.chats else responses_tools(sdk, ask))


async def chat_tools(sdk: AsyncOpenAI, ask: Ask) -> Json:
    tool = {"type": "function", "function": {"name": TOOL, "parameters": PARAMETERS, "strict": True}}
    messages: list[Any] = [*ask.messages]
    called: list[Any] = []
    while True:
        answer = await sdk.chat.completions.create(model=ask.model, messages=messages, tools=[tool])
        message = answer.choices[0].message
        if not message.tool_calls:
            return {"text": message.content, "called": called}
        messages.append(message)
        for call in message.tool_calls:
            called.append([call.function.name, json.loads(call.function.arguments)])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})


async def responses_tools(sdk: AsyncOpenAI, ask: Ask) -> Json:
    tool = {"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": True}
    given: list[Any] = [*ask.messages]
    called: list[Any] = []
    while True:
        answer = await sdk.responses.create(model=ask.model, input=given, tools=[tool])
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return {"text": answer.output_text, "called": called}
        given += answer.output
        for call in calls:
            called.append([call.name, json.loads(call.arguments)])
            given.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULT})


async def structured(ask: Ask) -> Json:
    async with client(ask) as sdk:
        if ask.chats:
            whole = await sdk.chat.completions.parse(model=ask.model, messages=ask.messages, response_format=Town)
            value: Any = whole.choices[0].message.parsed
        else:
            value = (await sdk.responses.parse(model=ask.model, input=ask.prompt, text_format=Town)).output_parsed
        return {"value": value.model_dump()}


async def embeddings(ask: Ask) -> Json:
    async with client(ask) as sdk:
        answer = await sdk.embeddings.create(model=ask.model, input=TEXTS)
        return {"vectors": [one.embedding for one in answer.data]}


if __name__ == "__main__":
    serve(("openai",), models, plain, stream, tools, structured, embeddings, abort)
