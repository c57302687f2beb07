from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.support.embedded import Embedded, embedded, events_of
from tests.support.stack import until


def kinds(messages: list) -> list[str]:
    return [message if message == "[DONE]" else message["message_type"] for message in messages]


def user(text: str) -> dict:
    return {"messages": [{"role": "user", "content": text}]}


def decision(call_id: str, approve: bool, **more: str) -> dict:
    one = {"type": "approval", "tool_call_id": call_id, "approve": approve, **more}
    return {"messages": [{"type": "approval", "approvals": [one]}]}


async def conversation_of(services: Embedded, agent_id: str, summary: str = "s") -> str:
    made = await services.letta.post(f"/v1/conversations/?agent_id={agent_id}", json={"summary": summary})
    conversation_id: str = made.json()["id"]
    return conversation_id


async def test_agents_are_listed_by_tag_name_and_page() -> None:
    async with embedded() as services:

        async def listed(query: str) -> list[str]:
            return [agent["id"] for agent in (await services.letta.get(f"/v1/agents/?{query}")).json()]

        mine = services.agent_ids()
        tag = f"tags=user:{services.ams.headers['x-user-id']}"
        assert await listed(tag) == mine
        assert await listed(f"{tag}&order=asc") == mine[::-1]
        assert await listed(f"{tag}&limit=1&after={mine[0]}") == mine[1:2]
        assert await listed(f"{tag}&before={mine[2]}") == mine[:2]
        assert await listed(f"{tag}&after=agent-{uuid.uuid4()}") == mine
        assert await listed(f"{tag}&tags=nope&match_all_tags=true") == []
        assert await listed("name=Night shift") == [mine[2]]
        assert (await services.letta.get("/v1/agents/?limit=-1")).status_code == 500
        assert (await services.letta.get("/v1/agents/?limit=x")).status_code == 422
        slashless = await services.letta.get("/v1/agents")
        assert slashless.status_code == 307


async def test_what_is_not_asked_for_is_empty() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}"
        bare = (await services.letta.get(path)).json()
        assert (bare["blocks"], bare["tools"], bare["tags"]) == ([], [], [])
        included = "include=agent.blocks&include=agent.tools&include=agent.tags"
        whole = (await services.letta.get(f"{path}?{included}")).json()
        assert [block["label"] for block in whole["blocks"]] == ["persona", "human"]
        assert whole["tools"][1]["default_requires_approval"] is True
        assert len(whole["tags"]) == 1


async def test_an_agent_is_changed_and_deleted() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}"
        changes = {"name": "N", "system": "S", "model": "openai-proxy/gpt-4.1", "tags": ["t"], "nonsense": 1}
        changed = (await services.letta.patch(path, json=changes)).json()
        assert (changed["name"], changed["llm_config"]["model"], changed["tags"]) == ("N", "gpt-4.1", ["t"])
        assert "nonsense" not in changed
        first = (await services.letta.get(f"{path}/messages?order=asc&limit=100")).json()
        assert "S" in [message.get("content") for message in first]
        gone = await services.letta.delete(path)
        assert gone.json() == {"message": f"Agent id={services.agent_ids()[0]} successfully deleted"}
        for again in (services.letta.get(path), services.letta.patch(path, json={}), services.letta.delete(path)):
            assert (await again).status_code == 404
        assert (await services.letta.get("/v1/agents/not-an-id")).status_code == 422


async def test_agents_that_cannot_be_made() -> None:
    async with embedded() as services:
        for body, status in (({"name": 5}, 422), ({"model": "m", "memory_blocks": "x"}, 422), ({"name": "n"}, 400)):
            assert (await services.letta.post("/v1/agents/", json=body)).status_code == status
        assert (await services.letta.post("/v1/agents/", content="{nope")).status_code == 422


async def test_conversations_are_changed_forked_and_deleted() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        conversation_id = await conversation_of(services, agent_id)
        path = f"/v1/conversations/{conversation_id}"
        await services.tell(f"{path}/messages", "hi [[tokens=2]]")
        renamed = (await services.letta.patch(path, json={"summary": "renamed", "agent_id": "x"})).json()
        assert (renamed["summary"], renamed["agent_id"]) == ("renamed", agent_id)
        fork = (await services.letta.post(f"{path}/fork")).json()
        assert (fork["summary"], fork["agent_id"]) == ("renamed", agent_id)

        async def texts(path: str) -> list[str]:
            messages = (await services.letta.get(f"{path}/messages?order=asc")).json()
            return [message["content"] for message in messages[1:]]

        forked = f"/v1/conversations/{fork['id']}"
        await services.tell(f"{forked}/messages", "more [[tokens=1]]")
        assert await texts(path) == ["hi [[tokens=2]]", "tok0 tok1"]
        assert await texts(forked) == ["hi [[tokens=2]]", "tok0 tok1", "more [[tokens=1]]", "tok0"]
        assert len((await services.letta.get(path)).json()["in_context_message_ids"]) == 3
        gone = await services.letta.delete(path)
        assert (gone.status_code, gone.json()) == (200, None)
        assert (await services.letta.get(path)).status_code == 404
        assert (await services.letta.get("/v1/conversations/xx")).status_code == 422
        own = (await services.letta.post(f"/v1/conversations/default/fork?agent_id={agent_id}")).json()
        assert own["summary"] is None


async def test_a_whole_answer_has_the_recorded_fields() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        answer = await services.tell(f"/v1/agents/{agent_id}/messages", "hi [[tokens=3]]")
        assert list(answer) == ["messages", "stop_reason", "usage", "logprobs", "turns"]
        (said,) = answer["messages"]
        assert (said["content"], said["message_type"]) == ("tok0 tok1 tok2", "assistant_message")
        fields = "id date name message_type otid sender_id step_id is_err seq_id run_id content"
        assert list(said) == [name for name in fields.split() if name != "content"] + ["content"]
        assert answer["stop_reason"] == {"message_type": "stop_reason", "stop_reason": "end_turn"}
        assert (answer["usage"]["completion_tokens"], answer["usage"]["step_count"]) == (3, 1)
        short = (await services.letta.post(f"/v1/agents/{agent_id}/messages", json={"input": "[[tokens=1]]"})).json()
        assert short["messages"][0]["content"] == "tok0"


async def test_a_stream_by_tokens_and_by_steps() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages"
        ask = user("hi [[tokens=2 reasoning=1 delay=0]]")
        tokens = await services.events(path, {**ask, "streaming": True, "stream_tokens": True})
        said = [event["content"] for event in tokens if event != "[DONE]" and "content" in event]
        assert said == ["tok0 ", "tok1"]
        steps = await services.events(f"{path}/stream", ask)
        assert kinds(steps) == [
            "ping", "reasoning_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"
        ]  # fmt: skip
        assert steps[1]["id"] == steps[2]["id"]
        assert steps[1]["otid"] != steps[2]["otid"]
        both = (await services.letta.get(f"/v1/messages/{steps[1]['id']}")).json()
        assert kinds(both) == ["reasoning_message", "assistant_message"]
        assert (await services.letta.get(f"/v1/messages/message-{uuid.uuid4()}")).status_code == 404


async def test_a_failing_model_is_a_status_to_who_does_not_stream() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages"
        for error, status, kind in (("429", 429, "llm_rate_limit"), ("500", 500, "llm_error")):
            answer = await services.letta.post(path, json=user(f"x [[error={error}]]"))
            assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        run = (await services.letta.get("/v1/runs/?limit=1")).json()[0]
        assert (run["status"], run["stop_reason"]) == ("failed", "llm_api_error")
        steps = (await services.letta.get(f"/v1/runs/{run['id']}/steps")).json()
        assert [(step["status"], step["error_type"]) for step in steps] == [("failed", "LLMServerError")]
        cut = await services.events(f"{path}/stream", user("x [[tokens=4 error=cut delay=0]]"))
        assert [event["stop_reason"] for event in cut if "stop_reason" in event] == ["error", "llm_api_error"]


@pytest.mark.parametrize(
    ("body", "status"), [({"messages": []}, 422), ({"messages": "x"}, 422), ({}, 422), ({"messages": ["x"]}, 422)]
)
async def test_messages_that_are_none(body: dict, status: int) -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages"
        assert (await services.letta.post(path, json=body)).status_code == status


async def test_an_agents_messages_are_those_of_all_its_conversations() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/agents/{agent_id}/messages"
        messages = (await services.letta.get(f"{path}?limit=100")).json()
        listed = (await services.letta.get(f"/v1/conversations/?agent_id={agent_id}")).json()
        alone = (await services.letta.get(f"/v1/conversations/{listed[0]['id']}/messages")).json()
        assert {message["id"] for message in alone} < {message["id"] for message in messages}
        assert messages[0]["date"] > messages[-1]["date"]
        only = (await services.letta.get(f"{path}?conversation_id={listed[0]['id']}")).json()
        assert {message["id"] for message in only} == {message["id"] for message in alone}
        newest = (await services.letta.get(f"{path}?limit=2")).json()
        older = (await services.letta.get(f"{path}?limit=2&before={newest[-1]['id']}")).json()
        assert older[0]["date"] <= newest[-1]["date"]
        assert (await services.letta.get(f"{path}?after=message-{uuid.uuid4()}")).status_code == 404


async def test_a_busy_conversation_refuses_and_a_busy_agent_does_not() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/conversations/{await conversation_of(services, agent_id)}"
        slow = {**user("hi [[tokens=50 delay=1]]"), "stream_tokens": True}
        async with services.letta.stream("POST", f"{path}/messages", json=slow) as stream:
            first = events_of(await anext(stream.aiter_text()))[0]
            refused = await services.letta.post(f"{path}/messages", json=user("hi2"))
            assert (refused.status_code, refused.json()["run_id"]) == (409, first["run_id"])
            active = (await services.letta.get(f"/v1/runs/?agent_ids={agent_id}&active=true")).json()
            assert [run["id"] for run in active] == [first["run_id"]]
            assert (await services.letta.get("/v1/runs/active")).json() == active
            cancelled = await services.letta.post(f"{path}/cancel")
            assert cancelled.json() == {first["run_id"]: "cancelled"}
        again = await services.letta.post(f"{path}/cancel")
        assert again.status_code == 409
        own = f"/v1/agents/{agent_id}/messages"
        async with services.letta.stream("POST", f"{own}/stream", json=slow):
            assert (await services.tell(own, "hi [[tokens=1]]"))["messages"][0]["content"] == "tok0"
            assert (await services.letta.post(f"{own}/cancel", json={})).status_code == 200


async def test_a_background_run_is_taken_up_again_and_hangs_past_its_end() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages/stream"
        body = {**user("hi [[tokens=3 delay=0]]"), "background": True, "stream_tokens": True}
        events = await services.events(path, body)
        assert [event["seq_id"] for event in events if event != "[DONE]" and event.get("seq_id")] == [1, 2, 3, 4]
        run_id = events[0]["run_id"]
        resume = f"/v1/runs/{run_id}/stream"
        assert await services.events(resume, {"starting_after": 2}) == events[2:]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await services.letta.post(resume, json={"starting_after": 999})
        run = (await services.letta.get(f"/v1/runs/{run_id}")).json()
        assert (run["status"], run["background"], run["stop_reason"]) == ("completed", True, "end_turn")
        usage = (await services.letta.get(f"/v1/runs/{run_id}/usage")).json()
        assert (usage["completion_tokens"], usage["prompt_tokens_details"]) == (3, None)
        assert kinds((await services.letta.get(f"/v1/runs/{run_id}/messages")).json()) == [
            "user_message", "assistant_message"
        ]  # fmt: skip
        assert (await services.letta.post(resume, json={"starting_after": "x"})).status_code == 422
        foreground = await services.events(path, user("[[tokens=1]]"))
        refused = await services.letta.post(f"/v1/runs/{foreground[0]['run_id']}/stream", json={})
        assert refused.status_code == 400
        assert (await services.letta.get(f"/v1/runs/run-{uuid.uuid4()}")).status_code == 404


async def test_without_redis_there_are_no_background_runs() -> None:
    async with embedded(letta_redis=False) as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages/stream"
        refused = await services.letta.post(path, json={**user("hi"), "background": True})
        assert refused.status_code == 503
        assert (await services.letta.get("/v1/runs/?background=true")).json() == []


async def test_a_refund_waits_for_a_person_and_is_allowed() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/conversations/{await conversation_of(services, agent_id)}/messages"
        asked = await services.events(path, {**user("I want a refund of 12.50"), "stream_tokens": True})
        pieces = [event for event in asked if event != "[DONE]" and event["message_type"] == "approval_request_message"]
        assert pieces[0]["tool_call"]["name"] == "issue_refund"
        arguments = "".join(piece["tool_call"].get("arguments", "") for piece in pieces)
        assert arguments == '{"amount":12.5,"reason":"I want a refund of 12.50"}'
        assert pieces[0]["otid"] == pieces[0]["id"]
        assert kinds(asked)[-3:] == ["stop_reason", "usage_statistics", "[DONE]"]
        assert asked[-3]["stop_reason"] == "requires_approval"
        call_id = pieces[0]["tool_call"]["tool_call_id"]

        for sent, reason in (
            (user("hello?"), "waiting for approval"),
            (decision("call_x", approve=True), "Invalid tool call"),
        ):
            refused = await services.events(path, sent)  # a stream is told within itself, as the real server does
            assert kinds(refused) == ["ping", "stop_reason", "error_message"]
            assert refused[1]["stop_reason"] == "error"
            assert (refused[2]["error_type"], reason in refused[2]["detail"]) == ("internal_error", True)
            whole = await services.letta.post(path, json={**sent, "streaming": False})
            assert whole.status_code in {400, 409}
            assert reason in whole.json()["detail"]

        went_on = await services.events(path, {**decision(call_id, approve=True), "stream_tokens": False})
        assert kinds(went_on) == [
            "ping", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"
        ]  # fmt: skip
        assert (went_on[1]["tool_return"], went_on[1]["status"]) == ("refund issued", "success")
        assert went_on[2]["content"].startswith("Thank you. I have called issue_refund")
        stored = (await services.letta.get(f"{path}?order=asc")).json()
        assert kinds(stored)[1:] == [
            "user_message", "approval_request_message", "approval_response_message", "tool_return_message",
            "assistant_message",
        ]  # fmt: skip
        assert stored[3]["approvals"][0]["approve"] is True
        other = f"/v1/conversations/{await conversation_of(services, agent_id)}/messages"
        unasked = await services.events(other, decision(call_id, approve=True))
        assert "No tool call is currently awaiting approval" in unasked[2]["detail"]


async def test_a_call_that_is_denied() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/agents/{agent_id}/messages"
        asked = await services.tell(path, "do it [[tokens=2 tool=anything approve=1]]")
        (request,) = asked["messages"]
        assert (request["message_type"], asked["stop_reason"]["stop_reason"]) == (
            "approval_request_message", "requires_approval"
        )  # fmt: skip
        pending = await services.letta.get(f"/v1/agents/{agent_id}?include=agent.pending_approval")
        assert pending.json()["pending_approval"]["id"] == request["id"]
        denied = decision(request["tool_call"]["tool_call_id"], approve=False, reason="no")
        answer = (await services.letta.post(path, json=denied)).json()
        returned, said = answer["messages"]
        assert returned["tool_return"] == "Error: request to call tool denied. User reason: no"
        assert (returned["status"], returned["name"], said["content"]) == ("error", None, "tok0 tok1")
        assert returned["step_id"] == request["step_id"]
        assert returned["tool_returns"][0]["type"] == "tool"


async def test_the_older_form_of_a_decision_and_an_agents_own_rule() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/agents/{agent_id}/messages"
        free = await services.letta.patch(
            f"/v1/agents/{agent_id}/tools/approval/issue_refund?requires_approval=false", json={}
        )
        assert (free.status_code, free.json()) == (200, None)
        at_once = await services.tell(path, "a refund please")
        assert kinds(at_once["messages"]) == ["tool_call_message", "tool_return_message", "assistant_message"]
        assert at_once["usage"]["step_count"] == 2
        asked = await services.tell(path, "[[tokens=1 tool=find_order approve=1]]")
        older = {"type": "approval", "approve": True, "approval_request_id": asked["messages"][0]["id"]}
        answer = await services.letta.post(path, json={"messages": [older]})
        assert kinds(answer.json()["messages"]) == ["tool_return_message", "assistant_message"]


async def test_two_decisions_at_once_go_on_once() -> None:
    async with embedded() as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages"
        asked = await services.tell(path, "[[tokens=1 tool=find_order approve=1]]")
        decided = decision(asked["messages"][0]["tool_call"]["tool_call_id"], approve=True)
        answers = await asyncio.gather(*(services.letta.post(path, json=decided) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 400]


async def test_tools_and_models() -> None:
    async with embedded() as services:
        tools = (await services.letta.get("/v1/tools/")).json()
        wanted = [tool["id"] for tool in tools[:2]]
        asked = "&".join(f"tool_ids={tool_id}" for tool_id in wanted)
        assert [tool["id"] for tool in (await services.letta.get(f"/v1/tools/?{asked}")).json()] == wanted
        named = (await services.letta.get("/v1/tools/?names=issue_refund&names=nope")).json()
        assert [tool["name"] for tool in named] == ["issue_refund"]
        assert (await services.letta.get(f"/v1/tools/{wanted[0]}")).json() == tools[0]
        assert (await services.letta.get(f"/v1/tools/tool-{uuid.uuid4()}")).status_code == 404
        models = (await services.letta.get("/v1/models/")).json()
        assert "openai-proxy/gpt-4o-mini" in [model["handle"] for model in models]
        embeddings = (await services.letta.get("/v1/models/embedding")).json()
        assert [model["embedding_dim"] for model in embeddings] == [1536]


async def test_a_turn_goes_on_when_its_reader_leaves() -> None:
    async with embedded() as services:
        agent_id = services.agent_ids()[0]
        path = f"/v1/agents/{agent_id}/messages/stream"
        async with services.letta.stream("POST", path, json=user("hi [[tokens=20 delay=0.01]]")) as stream:
            run_id = events_of(await anext(stream.aiter_text()))[0]["run_id"]

        async def is_over() -> bool:
            return bool((await services.letta.get(f"/v1/runs/{run_id}")).json()["status"] == "completed")

        await until(is_over)
