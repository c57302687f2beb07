"""Runs a turn as Letta does: emits frames, and stores each step.

The model's answer is one step. A tool call and its result are a step before the answer. A call that needs an approval
ends the turn. The user's decision begins the next turn.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from app.embedded.letta.failures import DETAIL, DETAILS, KINDS, STOPS, UNKNOWN, WORDS, error_frame
from app.embedded.letta.model_calls import ModelCalls
from app.embedded.letta.shapes import MESSAGE, STEP
from app.embedded.letta.tools import Decision, ToolUse, client_tools_of, decision_of, result_of, tool_use
from app.embedded.model import Answer, ModelFailure, answer_to, text_of
from app.embedded.state import Agent, Json, Run, State, new_id, now, now_of_message

_PIECE = 6
"""The maximum length of a call's arguments in one frame."""


def otid_of(message_id: str, index: int) -> str:
    """Return the ``otid`` of one part of a message.

    As in Letta, this is the message's id with ``index`` in its last seven bits.
    """
    number = int(message_id.removeprefix("message-").replace("-", ""), 16)
    digits = f"{(number & ~0x7F) | index:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def play(
    state: State, model_calls: ModelCalls, agent: Agent, run: Run, body: Json, words_per_second: float
) -> None:
    """Run one turn to its end.

    ``body`` is the request. ``body["pending"]`` is the tool call that the request decides. ``body["refused"]`` is the
    reason for a refusal, which the stream reports.
    """
    turn = Turn(state, model_calls, agent, run, body)
    try:
        await turn.play(words_per_second)
    except asyncio.CancelledError:
        turn.end("cancelled", "cancelled")
        turn.emit({"message_type": "stop_reason", "stop_reason": "cancelled"})
        turn.close(background=True)
    except ModelFailure as failure:
        turn.fail(failure)
    finally:
        run.over = True
        if agent.id in state.agents:
            state.keep_run(run)
        run.notify()


class Turn:
    """One turn of an agent. Letta has one run for the turn."""

    def __init__(self, state: State, model_calls: ModelCalls, agent: Agent, run: Run, body: Json) -> None:
        self._state = state
        self._model_calls = model_calls
        self._history: list[Json] = []
        self._used: Json = {}
        self._agent = agent
        self._run = run
        self._sent: Json = body["messages"][0]
        self._more: list[Json] = body["messages"][1:]
        self._pending: Json = body.get("pending") or {}
        self._refused: str = body.get("refused") or ""
        self._client_tools = client_tools_of(body)
        self._background = bool(body.get("background"))
        self._tokens = bool(body.get("stream_tokens"))
        self._step = new_id("step")
        self._began = time.monotonic_ns()
        self._run.usage = {"completion_tokens": 0, "prompt_tokens": 0}

    async def play(self, words_per_second: float) -> None:
        """Run the turn. Raises ModelFailure."""
        self.emit({"id": new_id("ping"), "message_type": "ping"}, numbered=True)
        if self._refused:
            self._refuse()
            return
        if self._sent.get("type") == "approval":
            await self._resume(words_per_second)
            return
        sent = [self._sent, *self._more]
        answer = self._answer_to(sent, words_per_second)
        prompt, users = text_of(sent[-1]), [self._user(one) for one in sent]
        use = tool_use(self._state, self._agent, answer, prompt, self._client_tools)
        if use is not None:
            await self._model_calls.decide(self._agent, self._history, use.name, self._used)
        if use is not None and use.approval:
            self._request_approval(use, users, answer)
            return
        stored = [[user] for user in users]
        if use is not None:
            stored += self._emit_call_and_result(use)
            self._end_step(answer, len(use.arguments) // 4)
            self._store(stored)
            stored = []
        await self._conclude(answer, stored)

    async def _resume(self, words_per_second: float) -> None:
        """Continue after the decision about a tool call."""
        pending = self._pending
        use, decision = ToolUse(**pending["use"]), decision_of(self._sent)
        response = self._approval(use, pending, decision)
        self._step = pending["request"]["step_id"]
        returned = self._returned(use, decision.result(use), executed=decision.executes)
        with self._state.store.together():
            self._store([[response], [returned]])
            self._state.keep_agent(self._agent)
        self._step = new_id("step")
        answer = self._answer_to(self._more or [{"role": "user", "content": pending["asked"]}], words_per_second)
        answer = answer if self._more else answer.after(use.name, approve=decision.approve)
        await self._conclude(answer, [[self._user(one)] for one in self._more])

    def _user(self, sent: Json) -> Json:
        content = sent.get("content")
        content = content if isinstance(content, list) else text_of(sent)
        user = self._message(new_id("message"), "user_message", index=0, content=content)
        return {**user, "otid": sent.get("otid") or user["otid"]}

    def _answer_to(self, sent: list[Json], words_per_second: float) -> Answer:
        history = [_openai(message) for group in self._agent.messages[self._run.scope] for message in group]
        self._history = [*history, *sent]
        return answer_to(self._history, words_per_second=words_per_second)

    async def _conclude(self, answer: Answer, stored: list[list[Json]]) -> None:
        group = await self._generate(answer)
        with self._state.store.together():
            self._end_step(answer, len(answer.words))
            self._store([*stored, group])
            self._finish("end_turn")

    def _finish(self, reason: str) -> None:
        self.end("completed", reason)
        self.emit({"message_type": "stop_reason", "stop_reason": reason})
        self.emit(self._usage())
        self._run.emit("data: [DONE]\n\n")

    async def _generate(self, answer: Answer) -> list[Json]:
        message_id, group = new_id("message"), []
        if answer.reasoning:
            thinking = {"source": "reasoner_model", "reasoning": answer.reasoning, "signature": None}
            thought = self._message(message_id, "reasoning_message", index=0, **thinking)
            group.append(thought)
            for word in answer.reasoning.split(" ") if self._tokens else []:
                self.emit({**thought, "reasoning": f"{word} "}, numbered=True)
            thought["reasoning"] = "".join(f"{word} " for word in answer.reasoning.split(" "))
            if not self._tokens:
                self.emit(thought, numbered=True)
        message = self._message(message_id, "assistant_message", content="", index=len(group))
        async for word in self._model_calls.words(self._agent, self._history, answer, self._used):
            message["content"] += word
            self._note_first_token()
            if self._tokens:
                self.emit({**message, "content": word}, numbered=True)
        if not self._tokens:
            self.emit(message, numbered=True)
        self._run.messages += [*group, message]
        return [*group, message]

    def _note_first_token(self) -> None:
        if self._run.body["ttft_ns"] is None and self._run.is_tracked:
            self._run.body["ttft_ns"] = time.monotonic_ns() - self._began

    def _emit_call_and_result(self, use: ToolUse) -> list[list[Json]]:
        calling = self._calling("tool_call_message", use)
        returned = self._returned(use, result_of(use), executed=True)
        return [[calling], [returned]]

    def _request_approval(self, use: ToolUse, users: list[Json], answer: Answer) -> None:
        request = self._calling("approval_request_message", use)
        pending = {"use": use.as_json(), "request": request, "asked": text_of([self._sent, *self._more][-1])}
        self._agent.pending[self._run.scope] = pending
        with self._state.store.together():
            self._end_step(answer, len(use.arguments) // 4)
            self._store([*([user] for user in users), [request]])
            self._state.keep_agent(self._agent)
            self._finish("requires_approval")

    def _calling(self, kind: str, use: ToolUse) -> Json:
        """Emit a tool call, in pieces or whole. As in Letta, an approval request's ``otid`` equals the request's id."""
        calling = self._message(new_id("message"), kind, index=0)
        if kind == "approval_request_message":
            calling["otid"] = calling["id"]
        pieces: list[Json] = [{"name": use.name, "tool_call_id": use.call_id}]
        pieces += [
            {"arguments": use.arguments[at : at + _PIECE], "tool_call_id": use.call_id}
            for at in range(0, len(use.arguments), _PIECE)
        ]
        for piece in pieces if self._tokens else []:
            self.emit({**calling, "tool_call": piece, "tool_calls": piece}, numbered=True)
        whole = {"name": use.name, "arguments": use.arguments, "tool_call_id": use.call_id}
        calling |= {"tool_call": whole, "tool_calls": [whole]}
        if not self._tokens:
            self.emit(calling, numbered=True)
        self._run.messages.append(calling)
        return calling

    def _returned(self, use: ToolUse, result: Json, *, executed: bool) -> Json:
        """Return a tool call's result, and emit it.

        As in Letta, a stream of tokens has only the results of calls that Letta has executed.
        """
        result = {**result, "tool_call_id": use.call_id}
        returned = self._message(
            new_id("message"), "tool_return_message", index=0, **result, tool_returns=[{"type": "tool", **result}]
        )
        returned["name"] = use.name if executed else None
        if executed or not self._tokens:
            self.emit(returned, numbered=True)
        self._run.messages.append(returned)
        return returned

    def _approval(self, use: ToolUse, pending: Json, decision: Decision) -> Json:
        decided = decision.returned is None
        return self._message(
            new_id("message"),
            "approval_response_message",
            otid=self._sent.get("otid") if decided else None,
            step_id=None,
            approvals=decision.approvals(use.call_id),
            approve=decision.approve if decided else None,
            approval_request_id=pending["request"]["id"] if decided else None,
            reason=decision.reason,
        )

    def fail(self, failure: ModelFailure) -> None:
        """End the turn because the model has failed."""
        kind, detail = KINDS.get(failure.kind, "llm_error"), DETAILS.get(failure.kind, DETAIL)
        self._end_step(None, 0)
        reasons = STOPS.get(failure.kind, ("llm_api_error",))
        self.end("failed", reasons[-1])
        if self._run.is_tracked:
            self._run.body["metadata"] = {**self._run.body["metadata"], "error": detail}
        self._run.error = {"error": {"type": kind, "message": WORDS[kind], "detail": detail}}
        for reason in reasons:
            self.emit({"message_type": "stop_reason", "stop_reason": reason})
        self._run.emit(error_frame(self._run.id, kind, detail, seq_id=self._next_seq))
        if kind != "internal_error":
            self.close(background=False)

    def _refuse(self) -> None:
        self.end("failed", "error")
        self.emit({"message_type": "stop_reason", "stop_reason": "error"})
        message = self._refused if self._refused.startswith(("CONFLICT", "INVALID_ARGUMENT")) else UNKNOWN
        self._run.emit(error_frame(self._run.id, "internal_error", self._refused, message, self._next_seq))
        self.close(background=False)

    def close(self, *, background: bool) -> None:
        """Emit ``[DONE]`` after a cancellation or failure.

        As in Letta, a cancelled run emits ``[DONE]`` only in the background, and a failed run only in the foreground. A
        turn whose model call was cut never emits ``[DONE]``.
        """
        if self._background == background:
            self._run.emit("data: [DONE]\n\n")

    @property
    def _next_seq(self) -> int | None:
        return len(self._run.frames) + 1 if self._background else None

    def end(self, status: str, reason: str) -> None:
        """Record the end of the run."""
        at = now()
        took = time.monotonic_ns() - self._began
        self._run.reason = reason
        if self._run.is_tracked:
            self._run.body |= {
                "status": status,
                "stop_reason": reason,
                "completed_at": at.rstrip("Z"),
                "total_duration_ns": took,
            }
        conversation = self._agent.conversations.get(self._run.scope)
        if conversation is not None and self._agent.id in self._state.agents:
            self._state.keep_conversation(self._agent, {**conversation, "last_message_at": at})

    def emit(self, frame: Json, *, numbered: bool = False) -> None:
        """Emit a frame. A ``numbered`` frame of a background run has a ``seq_id``."""
        if numbered:
            numbers = {"seq_id": self._next_seq, "run_id": self._run.id}
            frame = {**MESSAGE, "date": now_of_message(), **frame, **numbers}
        self._run.emit(f"data: {orjson.dumps(frame).decode()}\n\n")

    def _message(self, message_id: str, kind: str, *, index: int | None = None, **more: Any) -> Json:
        return {
            **MESSAGE,
            "id": message_id,
            "date": now_of_message(),
            "message_type": kind,
            "otid": None if index is None else otid_of(message_id, index),
            "step_id": self._step,
            "run_id": self._run.id,
            **more,
        }

    def _store(self, groups: list[list[Json]]) -> None:
        if self._agent.id in self._state.agents:
            self._state.add_messages(self._agent, self._run.scope, groups)

    def _end_step(self, answer: Answer | None, completion_tokens: int) -> None:
        """Record the step, and begin the next step. A step without an answer has failed."""
        prompt = answer.prompt_tokens if answer is not None else 0
        counts = {"completion_tokens": completion_tokens, "prompt_tokens": prompt, **self._used}
        self._used.clear()
        handle = str(self._agent.body["model"])
        step = {
            **STEP,
            "id": self._step,
            "run_id": self._run.id,
            "agent_id": self._agent.id,
            "model": handle.split("/", 1)[-1],
            "model_handle": handle,
            **counts,
            "total_tokens": sum(counts.values()),
            "stop_reason": "end_turn" if answer is not None else "llm_api_error",
            "status": "success" if answer is not None else "failed",
        }
        if answer is None:
            step |= {"error_type": "LLMServerError", "error_data": {"message": DETAIL, "details": None}}
        self._run.steps.append(step)
        for name, count in counts.items():
            self._run.usage[name] += count
        self._run.usage["total_tokens"] = self._run.usage["completion_tokens"] + self._run.usage["prompt_tokens"]
        self._step = new_id("step")

    def _usage(self) -> Json:
        last = self._run.steps[-1]
        return {
            "message_type": "usage_statistics",
            **self._run.usage,
            "step_count": len(self._run.steps),
            "run_ids": None,
            "cached_input_tokens": 0,
            "cache_write_tokens": None if self._tokens else 0,
            "reasoning_tokens": 0,
            "context_tokens": last["total_tokens"],
        }


def _openai(message: Json) -> Json:
    roles = {"user_message": "user", "assistant_message": "assistant", "system_message": "system"}
    return {"role": roles.get(message["message_type"], "tool"), "content": message.get("content") or ""}
