"""A turn: what the embedded Letta does with a message. Said as frames; stored step by step, as Letta stores it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from app.embedded.model import Answer, ModelFailure, answer_to, speak, text_of
from app.embedded.state import Agent, Json, Run, State, new_id, now

_KINDS = {"429": "llm_rate_limit"}


def otid_of(message_id: str, index: int) -> str:
    """The ``otid`` of a message's part: its id with the last seven bits replaced, as Letta makes it."""
    number = int(message_id.removeprefix("message-").replace("-", ""), 16)
    digits = f"{(number & ~0x7F) | index:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def play(state: State, agent: Agent, run: Run, body: Json, words_per_second: float) -> None:
    """Play one turn to its end."""
    turn = _Turn(state, agent, run, body)
    try:
        await turn.play(words_per_second)
    except asyncio.CancelledError:
        turn.end("cancelled", "cancelled")
        turn.say({"message_type": "stop_reason", "stop_reason": "cancelled"})
    except ModelFailure as failure:
        turn.fail(failure)
    finally:
        run.over = True
        run.wake()


class _Turn:
    def __init__(self, state: State, agent: Agent, run: Run, body: Json) -> None:
        self._state = state
        self._agent = agent
        self._run = run
        self._sent: Json = body["messages"][0]
        self._background = bool(body.get("background"))
        self._tokens = bool(body.get("stream_tokens"))
        self._step = new_id("step")

    async def play(self, words_per_second: float) -> None:
        self.say({"id": new_id("ping"), "message_type": "ping"}, numbered=True)
        history = [_openai(message) for group in self._agent.messages[self._run.scope] for message in group]
        answer = answer_to([*history, self._sent], words_per_second=words_per_second)
        user = self._message(new_id("message"), "user_message", content=text_of(self._sent))
        user["otid"] = self._sent.get("otid") or otid_of(user["id"], 0)
        stored = [[user]]
        if answer.tool:
            stored += self._tool(answer.tool)
            self._store(stored)
            self._step, stored = new_id("step"), []
        group = await self._speak(answer)
        self._store([*stored, group])
        self.end("completed", "end_turn")
        self.say({"message_type": "stop_reason", "stop_reason": "end_turn"})
        self.say(_usage(answer))
        self._run.say("data: [DONE]\n\n")

    async def _speak(self, answer: Answer) -> list[Json]:
        message_id, group = new_id("message"), []
        if answer.reasoning:
            thought = self._message(message_id, "reasoning_message", reasoning=answer.reasoning, index=0)
            group.append(thought)
            for word in answer.reasoning.split(" "):
                self.say({**thought, "reasoning": f"{word} "} if self._tokens else thought, numbered=True)
            thought["reasoning"] = "".join(f"{word} " for word in answer.reasoning.split(" "))
        said = self._message(message_id, "assistant_message", content="", index=len(group))
        async for word in speak(answer, self._state.stats):
            said["content"] += word
            if self._tokens:
                self.say({**said, "content": word}, numbered=True)
        if not self._tokens:
            self.say(said, numbered=True)
        return [*group, said]

    def _tool(self, name: str) -> list[list[Json]]:
        call_id, arguments = f"call_{new_id('x')[2:26].replace('-', '')}", '{"query": "tok0"}'
        calling = self._message(new_id("message"), "tool_call_message", index=0)
        pieces: list[Json] = [{"name": name, "tool_call_id": call_id}]
        pieces += [{"arguments": arguments[at : at + 6], "tool_call_id": call_id} for at in range(0, len(arguments), 6)]
        for piece in pieces if self._tokens else []:
            self.say({**calling, "tool_call": piece, "tool_calls": piece}, numbered=True)
        whole = {"name": name, "arguments": arguments, "tool_call_id": call_id}
        calling |= {"tool_call": whole, "tool_calls": [whole]}
        returned = self._message(
            new_id("message"),
            "tool_return_message",
            index=0,
            name=name,
            tool_return="nothing was found",
            status="success",
            tool_call_id=call_id,
        )
        self.say(returned, numbered=True)
        return [[calling], [returned]]

    def fail(self, failure: ModelFailure) -> None:
        self.end("failed", "llm_api_error")
        if failure.kind == "cut":
            self.say({"message_type": "stop_reason", "stop_reason": "error"})
        self.say({"message_type": "stop_reason", "stop_reason": "llm_api_error"})
        error = {
            "message_type": "error_message",
            "run_id": self._run.body["id"],
            "error_type": _KINDS.get(failure.kind, "llm_error"),
            "message": "An error occurred with the LLM request.",
            "detail": "INTERNAL_SERVER_ERROR: the embedded model failed",
            "seq_id": None,
        }
        self._run.say(f"event: error\ndata: {orjson.dumps(error).decode()}\n\n")

    def end(self, status: str, reason: str) -> None:
        at = now()
        self._run.body |= {"status": status, "stop_reason": reason, "completed_at": at.rstrip("Z")}
        conversation = self._agent.conversations.get(self._run.scope)
        if conversation is not None:
            conversation["last_message_at"] = at

    def say(self, frame: Json, *, numbered: bool = False) -> None:
        if numbered:
            seq = len(self._run.frames) + 1 if self._background else None
            frame = {
                "date": now(),
                "otid": None,
                "step_id": None,
                **frame,
                "seq_id": seq,
                "run_id": self._run.body["id"],
            }
        self._run.say(f"data: {orjson.dumps(frame).decode()}\n\n")

    def _message(self, message_id: str, kind: str, *, index: int | None = None, **more: Any) -> Json:
        return {
            "id": message_id,
            "date": now(),
            "name": None,
            "message_type": kind,
            "otid": None if index is None else otid_of(message_id, index),
            "step_id": self._step,
            "run_id": self._run.body["id"],
            **more,
        }

    def _store(self, groups: list[list[Json]]) -> None:
        self._agent.messages[self._run.scope] += groups


def _openai(message: Json) -> Json:
    roles = {"user_message": "user", "assistant_message": "assistant", "system_message": "system"}
    return {"role": roles.get(message["message_type"], "tool"), "content": message.get("content") or ""}


def _usage(answer: Answer) -> Json:
    out = len(answer.words)
    return {
        "message_type": "usage_statistics",
        "completion_tokens": out,
        "prompt_tokens": answer.prompt_tokens,
        "total_tokens": out + answer.prompt_tokens,
        "step_count": 1,
        "run_ids": None,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
    }
