"""openai-agents."""

from __future__ import annotations

from typing import Any

from agents import Agent, AgentOutputSchema, ModelSettings, Runner, function_tool, set_tracing_disabled
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from agents.models.openai_responses import OpenAIResponsesModel
from openai import AsyncOpenAI

from tests.libraries.serving import RESULT, Ask, Json, Town, serve


def agent(ask: Ask, **more: Any) -> Agent[Any]:
    kind = OpenAIChatCompletionsModel if ask.chats else OpenAIResponsesModel
    model = kind(model=ask.model, openai_client=AsyncOpenAI(base_url=ask.base, api_key=ask.token))
    settings = ModelSettings(include_usage=True, extra_body=ask.extra or None)
    return Agent(name="Assistant", model=model, model_settings=settings, **more)


def used(result: Any) -> Json:
    usage = result.context_wrapper.usage
    return {"input": usage.input_tokens, "output": usage.output_tokens}


async def plain(ask: Ask) -> Json:
    result = await Runner.run(agent(ask), ask.prompt)
    return {"text": result.final_output, "usage": used(result)}


async def stream(ask: Ask) -> Json:
    return await streamed(ask, leave=False)


async def abort(ask: Ask) -> Json:
    return await streamed(ask, leave=True)


async def streamed(ask: Ask, *, leave: bool) -> Json:
    result = Runner.run_streamed(agent(ask), ask.prompt)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            ask.texts.append(event.data.delta)
            if leave:
                result.cancel()
    return {"usage": used(result)}


async def tools(ask: Ask) -> Json:
    called: list[Any] = []

    @function_tool
    def roll(sides: int) -> str:
        """Roll a die."""
        called.append(["roll", {"sides": sides}])
        return RESULT

    result = await Runner.run(agent(ask, tools=[roll]), ask.prompt)
    return {"text": result.final_output, "called": called}


async def structured(ask: Ask) -> Json:
    result = await Runner.run(agent(ask, output_type=AgentOutputSchema(Town)), ask.prompt)
    return {"value": result.final_output.model_dump()}


if __name__ == "__main__":
    set_tracing_disabled(disabled=True)
    serve(("openai-agents",), plain, stream, tools, structured, abort)
