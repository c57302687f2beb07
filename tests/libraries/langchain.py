"""langchain-openai."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.libraries.serving import RESULT, TEXTS, Ask, Json, Town, serve


@tool
def roll(sides: int) -> str:
    """Roll a die."""
    return RESULT


def model(ask: Ask) -> ChatOpenAI:
    return ChatOpenAI(
        model=ask.model,
        base_url=ask.base,
        api_key=ask.token,
        use_responses_api=not ask.chats,
        stream_usage=True,
        extra_body=ask.extra or None,
    )


def used(message: Any) -> Json | None:
    usage = message.usage_metadata
    return usage and {"input": usage["input_tokens"], "output": usage["output_tokens"]}


async def plain(ask: Ask) -> Json:
    answer = await model(ask).ainvoke(ask.prompt)
    return {"text": answer.text, "usage": used(answer)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    usage = None
    async with aclosing(model(ask).astream(ask.prompt)) as chunks:
        async for chunk in chunks:
            usage = used(chunk) or usage
            ask.texts += [chunk.text] if chunk.text else []
            if leave and ask.texts:
                break
    return {"usage": usage}


async def tools(ask: Ask) -> Json:
    bound = model(ask).bind_tools([roll])
    messages: list[Any] = [HumanMessage(ask.prompt)]
    called: list[Any] = []
    while True:
        answer = await bound.ainvoke(messages)
        if not answer.tool_calls:
            return {"text": answer.text, "called": called}
        messages.append(answer)
        for call in answer.tool_calls:
            called.append([call["name"], call["args"]])
            messages.append(ToolMessage(await roll.ainvoke(call["args"]), tool_call_id=call["id"]))


async def structured(ask: Ask) -> Json:
    value: Any = await model(ask).with_structured_output(Town, method="json_schema").ainvoke(ask.prompt)
    return {"value": value.model_dump()}


async def embeddings(ask: Ask) -> Json:
    # with the check, langchain-openai downloads the model's vocabulary
    sdk = OpenAIEmbeddings(model=ask.model, base_url=ask.base, api_key=ask.token, check_embedding_ctx_length=False)
    return {"vectors": await sdk.aembed_documents(TEXTS)}


if __name__ == "__main__":
    serve(("langchain-openai",), plain, stream, tools, structured, embeddings, abort)
