"""The mutations of one operation run in order, and each payload has the state after its mutation."""

from __future__ import annotations

import uuid
from typing import Any

from tests.support import things
from tests.support.stack import Stack

RENAMED = """mutation($c: ID!) {
  one: updateConversation(input: {conversationId: $c, summary: "one"}) { ...Told }
  two: updateConversation(input: {conversationId: $c, summary: "two"}) { ...Told }
}
fragment Told on UpdateConversationPayload {
  conversation { summary agent { conversations { nodes { id summary } } } }
}"""
BUSY = "conversation { summary activeRun { id } agent { status runs { nodes { id status } } } }"
STOPPED = f"""mutation($c: ID!, $r: ID!) {{
  named: updateConversation(input: {{conversationId: $c, summary: "named"}}) {{ {BUSY} }}
  stopped: cancelRun(input: {{runId: $r}}) {{ run {{ status {BUSY} }} }}
}}"""


async def answered(stack: Stack, query: str, **variables: str) -> dict[str, Any]:
    answer = await stack.graphql(query, variables)
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def test_each_mutation_of_an_operation_sees_its_own_change(stack: Stack) -> None:
    conversation_id = await things.conversation(stack)
    told = await answered(stack, RENAMED, c=conversation_id)
    for name in ("one", "two"):
        conversation = told[name]["conversation"]
        assert conversation["summary"] == name
        assert conversation["agent"]["conversations"]["nodes"] == [{"id": conversation_id, "summary": name}]


async def test_a_cancelled_run_is_not_shown_as_active(stack: Stack) -> None:
    conversation_id = await things.conversation(stack)
    say = {"to": {"conversationId": conversation_id}, "content": [{"text": "[[tokens=400 delay=0.1]]"}]}
    sent = await things.done(stack, things.SEND, {"i": say | {"idempotencyKey": str(uuid.uuid4())}})
    told = await answered(stack, STOPPED, c=conversation_id, r=sent["run"]["id"])
    assert told["named"]["conversation"]["activeRun"] == sent["run"]
    run = told["stopped"]["run"]
    assert run["status"] == "CANCELLED"
    assert (run["conversation"]["summary"], run["conversation"]["activeRun"]) == ("named", None)
    assert run["conversation"]["agent"] == {
        "status": "IDLE",
        "runs": {"nodes": [{"id": sent["run"]["id"], "status": "CANCELLED"}]},
    }
