from __future__ import annotations

import uuid

import pytest

from tests.support.upstreams import Json, Upstreams, events_so_far, kinds, message

BACKGROUND = {"streaming": True, "stream_tokens": True, "background": True}
NOBODY = str(uuid.uuid4())


async def turns(up: Upstreams, *texts: str) -> tuple[str, str, list[str]]:
    """Create an agent and a conversation with these messages. Return their ids and those of the runs, oldest first."""
    agent_id = (await up.agent())["id"]
    conversation_id = await up.conversation(agent_id)
    path = f"/v1/conversations/{conversation_id}/messages"
    runs = [(await up.events(path, message(text)))[0]["run_id"] for text in texts]
    return agent_id, conversation_id, runs


async def test_runs_are_listed_newest_first_and_by_page(up: Upstreams) -> None:
    agent_id, _, oldest = await turns(up, *["[[tokens=1]]"] * 3)
    newest = oldest[::-1]

    async def listed(query: str = "") -> list[str]:
        return [run["id"] for run in await up.get(f"/v1/runs/?agent_ids={agent_id}{query}")]

    assert await listed() == await listed("&order=desc") == await listed("&active=false") == newest
    assert await listed("&order=asc") == oldest
    assert await listed("&limit=2") == newest[:2]
    assert await listed(f"&before={newest[0]}&limit=1") == newest[1:2]
    assert await listed(f"&after={oldest[0]}") == newest[:2]
    assert await listed(f"&before={oldest[0]}&order=asc") == oldest[1:], "after and before have changed places"
    assert await listed(f"&after={oldest[2]}&order=asc") == oldest[:2]
    assert await listed(f"&after=run-{NOBODY}") == newest
    for limit in (0, -1):
        assert (await up.letta.get(f"/v1/runs/?agent_ids={agent_id}&limit={limit}")).status_code == 422
    assert await up.get(f"/v1/runs/?agent_ids=agent-{NOBODY}") == []


async def test_runs_are_filtered(up: Upstreams) -> None:
    agent_id, conversation_id, (good, bad) = await turns(up, "[[tokens=1]]", "[[error=500]]")
    other = (await up.agent())["id"]

    async def listed(query: str) -> set[str]:
        return {run["id"] for run in await up.get(f"/v1/runs/?agent_ids={agent_id}&agent_ids={other}{query}")}

    assert await listed("") == {good, bad}
    assert await listed("&statuses=completed") == {good}
    assert await listed("&statuses=failed") == {bad}
    assert await listed("&statuses=failed&statuses=completed") == {good, bad}
    assert await listed("&stop_reason=end_turn") == {good}
    assert await listed(f"&conversation_id={conversation_id}") == {good, bad}
    assert await listed("&background=true") == await listed("&active=true") == set()


async def test_runs_that_were_not_streamed_stay_created(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/{await up.conversation(agent_id)}/messages"
    for _ in range(2):
        await up.tell(path, "[[tokens=1]]")

    async def listed(query: str) -> list[Json]:
        runs: list[Json] = await up.get(f"/v1/runs/?agent_ids={agent_id}{query}")
        return runs

    newest, oldest = await listed("&active=true")
    for run in (newest, oldest):
        assert (run["status"], run["background"]) == ("created", False)
        assert run["conversation_id"] is run["stop_reason"] is run["completed_at"] is run["ttft_ns"] is None
    assert await listed(f"&active=true&before={newest['id']}") == [oldest]
    begun = await up.get(f"/v1/runs/?agent_ids={agent_id}&statuses=created&background=true&limit=1000")
    assert begun == await listed("&statuses=running") == []
    async with up.letta.stream("POST", path, json={**message("[[tokens=20 delay=0.2]]"), **BACKGROUND}) as answer:
        going = await anext(events_so_far(answer.aiter_lines()))
        [run] = await listed("&statuses=running")
        assert (run["id"], run["background"]) == (going["run_id"], True)
        assert [one["id"] for one in await listed("&active=true")] == [run["id"], newest["id"], oldest["id"]]
        assert await listed("&statuses=created") == [newest, oldest]


async def test_a_run_has_usage_steps_and_messages(up: Upstreams) -> None:
    agent_id, conversation_id, [run_id] = await turns(up, "hi [[tokens=3]]")
    run = await up.get(f"/v1/runs/{run_id}")
    assert (run["agent_id"], run["conversation_id"]) == (agent_id, conversation_id)
    assert (run["status"], run["stop_reason"], run["background"]) == ("completed", "end_turn", False)
    assert run["created_at"].endswith("Z")
    assert "Z" not in run["completed_at"], "this one time is without a zone"
    usage = await up.get(f"/v1/runs/{run_id}/usage")
    assert usage["completion_tokens"] == 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + 3
    [step] = await up.get(f"/v1/runs/{run_id}/steps")
    assert (step["run_id"], step["status"], step["stop_reason"]) == (run_id, "success", "end_turn")
    assert (step["model_handle"], step["completion_tokens"]) == (up.handle, 3)
    assert (await up.get(f"/v1/steps/{step['id']}"))["id"] == step["id"]
    messages = await up.get(f"/v1/runs/{run_id}/messages?order=asc&limit=5")
    assert kinds(messages) == ["user_message", "assistant_message"]
    assert {one["step_id"] for one in messages} == {step["id"]}


async def test_a_failed_run_has_a_reason(up: Upstreams) -> None:
    _, _, [run_id] = await turns(up, "[[error=500]]")
    run = await up.get(f"/v1/runs/{run_id}")
    assert isinstance(run["metadata"]["error"], str | dict)
    [step] = await up.get(f"/v1/runs/{run_id}/steps")
    assert (step["status"], step["stop_reason"], step["error_type"]) == ("failed", "llm_api_error", "LLMServerError")
    assert set(step["error_data"]) >= {"message"}


@pytest.mark.parametrize(
    "path", ["runs/run", "runs/run-{}/usage", "runs/run-{}/steps", "runs/run-{}/messages", "steps/step-{}"]
)
async def test_an_unknown_run_is_not_found(up: Upstreams, path: str) -> None:
    answer = await up.letta.get(f"/v1/{path}-{NOBODY}" if "{}" not in path else f"/v1/{path.format(NOBODY)}")
    body: Json = answer.json()
    assert (answer.status_code, list(body)) == (404, ["detail"])
