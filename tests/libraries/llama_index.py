"""llama-index."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

from tests.libraries.serving import RESULT, TEXTS, Ask, Json, Town, serve, used


def model(ask: Ask) -> Any:
    """Return OpenAI's client, or the client of similar services for models that OpenAI does not have."""
    given: Json = {"model": ask.model, "api_base": ask.base, "api_key": ask.token}
    if ask.extra:
        given["additional_kwargs"] = {"extra_body": ask.extra}
    if ask.model.startswith("agent-"):
        window = {"context_window": 128_000}
        like = {**given, **window, "is_chat_model": True, "is_function_calling_model": True}
        return OpenAILike(**like) if ask.chats else OpenAIResponses(**given, **window)
    return OpenAI(**given) if ask.chats else OpenAIResponses(**given)


def messages(ask: Ask) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=ask.prompt)]


def shown(answer: Any) -> Json | None:
    return used(getattr(answer.raw, "usage", None))


async def plain(ask: Ask) -> Json:
    answer = await model(ask).achat(messages(ask))
    return {"text": answer.message.content, "usage": shown(answer)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    usage = None
    async with aclosing(await model(ask).astream_chat(messages(ask))) as pieces:
        async for piece in pieces:
            usage = shown(piece) or usage
            ask.texts += [piece.delta] if piece.delta else []
            if leave and ask.texts:
                break
    return {"usage": usage}


async def tools(ask: Ask) -> Json:
    called: list[Any] = []

    def roll(sides: int) -> str:
        """Roll a die."""
        called.append(["roll", {"sides": sides}])
        return RESULT

    llm, tool, history = model(ask), FunctionTool.from_defaults(roll), messages(ask)
    while True:
        answer = await llm.achat_with_tools([tool], chat_history=history)
        calls = llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if not calls:
            return {"text": answer.message.content, "called": called}
        history.append(answer.message)
        for call in calls:
            result = str(await tool.acall(**call.tool_kwargs))
            history.append(ChatMessage(role="tool", content=result, additional_kwargs={"tool_call_id": call.tool_id}))


async def structured(ask: Ask) -> Json:
    value = await model(ask).astructured_predict(Town, PromptTemplate("{question}"), question=ask.prompt)
    return {"value": value.model_dump()}


async def embeddings(ask: Ask) -> Json:
    sdk = OpenAIEmbedding(model=ask.model, api_base=ask.base, api_key=ask.token)
    return {"vectors": await sdk.aget_text_embedding_batch(TEXTS)}


if __name__ == "__main__":
    serve(("llama-index-llms-openai", "openai"), plain, stream, tools, structured, embeddings, abort)
