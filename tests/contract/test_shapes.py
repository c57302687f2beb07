"""Answers have the form of the recorded ones: the same fields, with values of the same types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.embedded import events_of
from tests.support.samples import samples
from tests.support.shapes import VARIES, differences
from tests.support.upstreams import EMBEDDING, Json, Upstreams, message

SAMPLES = {f"{one.service}/{one.name}": one for service in ("letta", "litellm") for one in samples(service)}
WHOLE = {"stream_tokens": True, "background": True}


@dataclass
class Subjects:
    """An agent, a conversation with a message, and a key."""

    up: Upstreams
    agent: str
    conversation: str
    run: str
    key: dict[str, str]

    async def letta(self, path: str, body: Json | None = None, method: str = "") -> Any:
        filled = path.format(agent=self.agent, conv=self.conversation, run=self.run)
        answer = await self.up.letta.request(method or ("GET" if body is None else "POST"), filled, json=body)
        return events_of(answer.text) if "event-stream" in answer.headers["content-type"] else answer.json()

    async def litellm(self, path: str, body: Json | None = None) -> Any:
        answer = await self.up.litellm.request("GET" if body is None else "POST", path, json=body, headers=self.key)
        return events_of(answer.text) if "event-stream" in answer.headers["content-type"] else answer.json()

    def ask(self, text: str, **more: Any) -> Json:
        return {"model": self.up.chat_model, "messages": [{"role": "user", "content": text}], **more}


Call = Callable[[Subjects], Awaitable[Any]]


def turn_events(text: str, **more: Any) -> Call:
    return lambda at: at.letta("/v1/agents/{agent}/messages/stream", message(text) | more)


def completed(text: str, **more: Any) -> Call:
    return lambda at: at.litellm("/v1/chat/completions", at.ask(text, **more))


async def activity(at: Subjects) -> Any:
    today = datetime.now(UTC).date()
    days = f"start_date={today - timedelta(days=1)}&end_date={today + timedelta(days=1)}"
    return await at.litellm(f"/user/daily/activity?{days}")


async def bad_key(at: Subjects) -> Any:
    return (await at.up.litellm.get("/v1/models", headers={"authorization": "Bearer sk-nobody"})).json()


CALLS: dict[str, Call] = {
    "letta/agent_get_include": lambda at: at.letta("/v1/agents/{agent}?include=agent.blocks&include=agent.tools"),
    "letta/agents_by_tag": lambda at: at.letta(f"/v1/agents/?tags={at.up.tag}"),
    "letta/agent_patch": lambda at: at.letta("/v1/agents/{agent}", {"description": "d"}, "PATCH"),
    "letta/conv_get": lambda at: at.letta("/v1/conversations/{conv}"),
    "letta/conv_list": lambda at: at.letta("/v1/conversations/?agent_id={agent}"),
    "letta/conv_create": lambda at: at.letta("/v1/conversations/?agent_id={agent}", {"summary": "s"}),
    "letta/conv_patch": lambda at: at.letta("/v1/conversations/{conv}", {"summary": "s"}, "PATCH"),
    "letta/conv_msgs": lambda at: at.letta("/v1/conversations/{conv}/messages?order=asc"),
    "letta/msg_send": lambda at: at.letta("/v1/agents/{agent}/messages", message("hi [[tokens=3]]")),
    "letta/msg_stream_tokens": turn_events("[[tokens=3]]", stream_tokens=True),
    "letta/msg_stream_steps": turn_events("[[tokens=3]]"),
    "letta/msg_stream_reason": turn_events("[[tokens=3 reasoning=1]]", stream_tokens=True),
    "letta/msg_stream_err_429": turn_events("[[error=429]]"),
    "letta/msg_stream_tools_tokens": turn_events("[[tool=conversation_search]]", stream_tokens=True),
    "letta/msg_stream_tools_steps": turn_events("[[tool=conversation_search]]"),
    "letta/conv_bg_stream": lambda at: at.letta("/v1/conversations/{conv}/messages", message("[[tokens=3]]") | WHOLE),
    "letta/bg_run_get": lambda at: at.letta("/v1/runs/{run}"),
    "letta/runs_by_agent_ids": lambda at: at.letta("/v1/runs/?agent_ids={agent}"),
    "letta/run_steps": lambda at: at.letta("/v1/runs/{run}/steps"),
    "letta/run_usage": lambda at: at.letta("/v1/runs/{run}/usage"),
    "letta/blocks_of_agent": lambda at: at.letta("/v1/agents/{agent}/core-memory/blocks"),
    "letta/block_patch": lambda at: at.letta("/v1/agents/{agent}/core-memory/blocks/human", {"value": "v"}, "PATCH"),
    "letta/passage_create": lambda at: at.letta("/v1/agents/{agent}/archival-memory", {"text": "the sky"}),
    "letta/passages": lambda at: at.letta("/v1/agents/{agent}/archival-memory"),
    "letta/passage_search": lambda at: at.letta("/v1/agents/{agent}/archival-memory/search?query=sky"),
    "letta/tools_list": lambda at: at.letta("/v1/tools/?names=conversation_search"),
    "letta/models": lambda at: at.letta("/v1/models/"),
    "letta/models_embedding": lambda at: at.letta("/v1/models/embedding"),
    "letta/err_404_agent": lambda at: at.letta("/v1/agents/agent-00000000-0000-4000-8000-000000000000"),
    "letta/err_422_bad_agent_id": lambda at: at.letta("/v1/agents/not-an-id"),
    "letta/msg_send_err_429": lambda at: at.letta("/v1/agents/{agent}/messages", message("[[error=429]]")),
    "litellm/chat": completed("[[tokens=3]]"),
    "litellm/chat_stream_usage": completed("[[tokens=3]]", stream=True, stream_options={"include_usage": True}),
    "litellm/embeddings": lambda at: at.litellm("/v1/embeddings", {"model": EMBEDDING, "input": "a"}),
    "litellm/db_models_vkey": lambda at: at.litellm("/v1/models"),
    "litellm/model_group_info": lambda at: at.litellm("/model_group/info"),
    "litellm/model_info": lambda at: at.litellm("/model/info"),
    "litellm/db_key_info_self": lambda at: at.litellm("/key/info"),
    "litellm/db_v2_key_info_batch": lambda at: at.litellm("/v2/key/info", {"keys": [at.key["authorization"][7:]]}),
    "litellm/db_user_daily_activity": activity,
    "litellm/err_no_messages": lambda at: at.litellm("/v1/chat/completions", {"model": at.up.chat_model}),
    "litellm/db_models_badkey": bad_key,
}  # fmt: skip


def by_kind(events: list[Any]) -> Json:
    """Return the first event of each kind; a completion's chunks by their fields."""
    found: Json = {}
    for event in events:
        if event != "[DONE]":
            found.setdefault(event.get("message_type") or " ".join(sorted({*event} - VARIES)), event)
    return found


@pytest.fixture
async def subjects(up: Upstreams) -> Subjects:
    [tool] = await up.get("/v1/tools/?names=conversation_search")
    agent = (await up.agent(tool_ids=[tool["id"]]))["id"]
    await up.letta.post(f"/v1/agents/{agent}/archival-memory", json={"text": "the sky"})
    conversation, key = await up.conversation(agent), await up.key()
    body = message("[[tokens=1]]") | WHOLE
    events = await up.events(f"/v1/conversations/{conversation}/messages", body)
    asked = {"model": up.chat_model, "messages": [{"role": "user", "content": "[[tokens=1]]"}]}
    await up.litellm.post("/v1/chat/completions", json=asked, headers=key)
    return Subjects(up, agent, conversation, events[0]["run_id"], key)


async def test_answers_have_the_form_of_the_recorded_ones(subjects: Subjects) -> None:
    found = {}
    for name, call in CALLS.items():
        sample, answer = SAMPLES[name], await call(subjects)
        theirs = by_kind(sample.events) if sample.streams else sample.json
        ours = by_kind(answer) if sample.streams else answer
        if missing := differences(ours, theirs, null_is_left_out=sample.service == "litellm"):
            found[name] = missing
    assert found == {}
