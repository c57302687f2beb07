"""The body of a response: whole, in the events of a stream, and as a provider stores it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from app.embedded.litellm.replies import Reply
from app.embedded.litellm.responses.output import tool_with_nulls, with_nulls
from app.embedded.state import Json

_DETAILS = ("cached_tokens_details", "image_tokens", "text_tokens", "video_tokens")
_NATIVE: Json = {
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "store": True,
    "service_tier": "default",
    "top_logprobs": 0,
    "background": False,
    "billing": {"payer": "developer"},
}
"""The defaults of a provider's own Responses API."""
_BRIDGED: Json = {"tool_choice": "auto", "tools": [], "text": {}, "parallel_tool_calls": False}
_BRIDGED_BEGINNING: Json = {
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "top_p": 1.0,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
}
"""What the bridge says at the beginning of a stream, whatever the request says."""
_ECHOED = (
    *("instructions", "metadata", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p"),
    *("max_output_tokens", "reasoning", "text", "truncation", "user", "store"),
)
_NATIVE_ONLY = ("max_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "top_logprobs")


@dataclass(frozen=True)
class Body:
    """The constant fields of a response. ``request`` is the request's body, ``previous`` the provider's id of that."""

    id: str
    model: str
    request: Json
    native: bool
    previous: str | None
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, reply: Reply, items: list[Json]) -> Json:
        """Return the body of a whole response."""
        body = self._body(reply, [with_nulls(item) for item in items])
        tools = [tool_with_nulls(tool) for tool in body["tools"]]
        return {**body, "tools": tools, "usage": self._usage(reply)}

    def ended(self, reply: Reply, items: list[Json], cost: float) -> Json:
        """Return the response in the last event of a stream, which has no null fields."""
        usage = _without_nulls(self._usage(reply))
        details = ("input_tokens_details", "output_tokens_details")
        usage |= {name: _without_nulls(usage[name]) for name in details if name in usage}
        return {**_without_nulls(self._body(reply, items)), "usage": {**usage, "cost": cost}}

    def beginning(self) -> Json:
        """Return the response in the first events of a stream."""
        frame = {**self._frame, "output": [], "status": "in_progress"}
        if self.native:
            return _without_nulls({**self._echo(), **frame})
        return {**_BRIDGED_BEGINNING, "tools": self._echo()["tools"], **frame}

    def failed(self, code: str, message: str) -> Json:
        """Return the response in the event of a failure."""
        return {**self._frame, "error": {"code": code, "message": message}, "output": [], "status": "failed"}

    @property
    def _frame(self) -> Json:
        return {"id": self.id, "created_at": self.created, "model": self.model, "object": "response"}

    def _body(self, reply: Reply, output: list[Json]) -> Json:
        cut = reply.finish == "length"
        return {
            **self._frame,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": output,
            "previous_response_id": self.previous,
            "status": status_of(reply),
            **self._echo(),
        }

    def _echo(self) -> Json:
        """Return the request's parameters, or their defaults."""
        names = (*_ECHOED, *_NATIVE_ONLY) if self.native else _ECHOED
        defaults = {**dict.fromkeys(names), "metadata": {}, **(_NATIVE if self.native else _BRIDGED)}
        return defaults | {name: self.request[name] for name in names if self.request.get(name) is not None}

    def _usage(self, reply: Reply) -> Json:
        """Return the token counts with LiteLLM's null counts."""
        prompt, completion = reply.answer.prompt_tokens, reply.tokens
        audio = None if self.native else 0
        input_details = {"audio_tokens": audio, "cached_tokens": 0, **dict.fromkeys(_DETAILS)}
        output_details = {"audio_tokens": audio, "reasoning_tokens": 0, "text_tokens": None}
        return {
            "input_tokens": prompt,
            "input_tokens_details": input_details,
            "output_tokens": completion,
            "output_tokens_details": None if self.model.startswith("gemini") else output_details,
            "total_tokens": prompt + completion,
            "cost": None,
        }


def status_of(reply: Reply) -> str:
    """Return the status of a response and of its last item."""
    return "incomplete" if reply.finish == "length" else "completed"


def _without_nulls(value: Json) -> Json:
    return {name: one for name, one in value.items() if one is not None}
