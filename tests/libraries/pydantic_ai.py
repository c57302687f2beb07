"""pydantic-ai."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.libraries.serving import RESULT, TEXTS, Ask, Json, Town, serve


def agent(ask: Ask, **more: Any) -> Agent[Any, Any]:
    kind = OpenAIChatModel if ask.chats else OpenAIResponsesModel
    model = kind(ask.model, provider=OpenAIProvider(base_url=ask.base, api_key=ask.token))
    settings: Any = {"extra_body": ask.extra} if ask.extra else None
    return Agent(model, model_settings=settings, **more)


def used(usage: Any) -> Json:
    return {"input": usage.input_tokens, "output": usage.output_tokens}


async def plain(ask: Ask) -> Json:
    result = await agent(ask).run(ask.prompt)
    return {"text": result.output, "usage": used(result.usage)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    async with agent(ask).run_stream(ask.prompt) as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            ask.texts.append(text)
            if leave:
                return {}
        return {"usage": used(result.usage)}


async def tools(ask: Ask) -> Json:
    called: list[Any] = []

    def roll(sides: int) -> str:
        """Roll a die."""
        called.append(["roll", {"sides": sides}])
        return RESULT

    result = await agent(ask, tools=[roll]).run(ask.prompt)
    return {"text": result.output, "called": called}


async def structured(ask: Ask) -> Json:
    result = await agent(ask, output_type=NativeOutput(Town)).run(ask.prompt)
    return {"value": result.output.model_dump()}


async def embeddings(ask: Ask) -> Json:
    provider = OpenAIProvider(base_url=ask.base, api_key=ask.token)
    result = await Embedder(OpenAIEmbeddingModel(ask.model, provider=provider)).embed_documents(TEXTS)
    return {"vectors": [list(vector) for vector in result.embeddings]}


if __name__ == "__main__":
    serve(("pydantic-ai-slim",), plain, stream, tools, structured, embeddings, abort)
