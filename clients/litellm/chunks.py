"""Decodes the chunks of a streamed completion."""

import msgspec

from clients.litellm.fields import Object, as_json, as_list, as_object, clean, count, joined_text, json_object, word
from clients.litellm.refusals import WireError, wire_error
from clients.litellm.tokens import usage_of
from clients.litellm.toolcalls import CallPiece
from clients.sse import SseEvent
from clients.usage import Usage

_ENVELOPE = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier", "obfuscation"}) | {
    *("usage", "choices"),
    *("provider", "x_groq", "timings"),
}
"""Top-level fields of a chunk that are not part of the answer. OpenRouter, Groq and llama.cpp send the last three."""
_NOTHING: tuple[object, ...] = (None, "", [], {})
_TEXT_TYPES = (None, "text", "output_text", "refusal")
_THOUGHT_TYPES = ("thinking", "reasoning")
"""The types of content parts that contain reasoning.

This is a tuple, since a provider can send a type that is not hashable.
"""
_FINISHES = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "end"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "recitation", "refusal"), "content_filter"),
    **dict.fromkeys(("blocklist", "prohibited_content", "guardrail_intervened", "sensitive"), "content_filter"),
}
"""Maps providers' finish reasons to OpenAI's finish reasons. LiteLLM does not translate these reasons."""
_TEXT = ("text", "refusal", "content")
_THOUGHTS = ("text", "thinking", "summary", "content", "reasoning")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "reasoning_text", "thinking")
"""The names of providers' fields for reasoning. The first has precedence.

LiteLLM sends the first and the last with equal text.
"""


class ChoiceDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What one chunk adds to one choice of a completion.

    ``calls`` has pieces of tool calls with LiteLLM's indexes.
    """

    index: int
    text: str = ""
    reasoning: str = ""
    calls: list[CallPiece] = []
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk of a streamed completion. ``has_usage`` is true even if the chunk's usage cannot be decoded."""

    choices: list[ChoiceDelta]
    usage: Usage | None = None
    has_usage: bool = False
    is_only_usage: bool = False
    error: WireError | None = None


def is_done(event: SseEvent) -> bool:
    """Return whether an SSE event is ``[DONE]``, the last event of a stream."""
    return event.data.strip() == b"[DONE]"


def decode_chunk(event: SseEvent) -> Chunk | None:
    """Decode an SSE event as a chunk of a completion.

    Fields of an unexpected type are omitted. Returns ``None`` for data that is not a JSON object, unless the event's
    name is ``error``.
    """
    wire = json_object(event.data)
    if wire is None and event.event == "error":
        return Chunk(choices=[], error=wire_error(event.data.decode("utf-8", "replace")))
    if wire is None:
        return None
    choices = _choices(wire.get("choices"))
    error = error_of(wire, choices, event.event)
    has_usage = wire.get("usage") is not None
    return Chunk(
        choices=[_decoded(choice, position) for position, choice in enumerate(choices)],
        usage=usage_of(wire.get("usage")),
        has_usage=has_usage,
        is_only_usage=has_usage and error is None and _has_nothing_else(wire, choices),
        error=error,
    )


def _choices(value: object) -> list[Object]:
    return [choice for choice in as_list(value) if isinstance(choice, dict)]


def error_of(wire: Object, choices: list[Object], event: str) -> WireError | None:
    """Return the error in a chunk, if any.

    OpenAI and LiteLLM send ``error``, OpenRouter sends ``error`` in a choice, FastAPI sends ``detail``, and vLLM sends
    ``"object": "error"``. Some servers only name the event.
    """
    for sent in (wire.get("error"), *(choice.get("error") for choice in choices)):
        if is_error(sent):
            return wire_error(sent)
    if wire.get("object") == "error":
        return wire_error(wire)
    named = event == "error" or wire.get("type") == "error" or bool(wire.get("detail"))
    return wire_error(wire.get("detail") or wire) if named and "choices" not in wire else None


def is_error(sent: object) -> bool:
    """Return whether the field ``error`` reports an error. Some providers send the field with empty values."""
    return bool(sent) and not (isinstance(sent, dict) and all(value in _NOTHING for value in sent.values()))


def _has_nothing_else(wire: Object, choices: list[Object]) -> bool:
    if any(value not in _NOTHING for name, value in wire.items() if name not in _ENVELOPE):
        return False
    readable = wire.get("choices") in _NOTHING or len(choices) == len(as_list(wire.get("choices"))) > 0
    return readable and all(_is_bare(choice) for choice in choices)


def _is_bare(choice: Object) -> bool:
    rest = {name: value for name, value in choice.items() if name not in {"index", "delta"}}
    delta = choice.get("delta")
    fields = delta.values() if isinstance(delta, dict) else [delta]
    return all(value in _NOTHING for value in (*rest.values(), *fields))


def _decoded(choice: Object, position: int) -> ChoiceDelta:
    index = count(choice.get("index"))
    delta = choice.get("delta")
    delta = as_object(delta if isinstance(delta, dict) else choice.get("message"))
    text, thought = _content(delta.get("content"))
    return ChoiceDelta(
        index=position if index is None else index,
        text=(text or (joined_text(choice["text"], _TEXT) if "text" in choice else "")) + _refusal(delta),
        reasoning=_reasoning(delta) or thought,
        calls=_calls(delta),
        finish_reason=_finish(choice.get("finish_reason")),
    )


def _content(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return clean(value), ""
    parts = [part for part in as_list(value) if isinstance(part, dict | str)]
    text = "".join(_part(part) for part in parts)
    thoughts = [part for part in parts if isinstance(part, dict) and part.get("type") in _THOUGHT_TYPES]
    return text, joined_text(thoughts, _THOUGHTS)


def _part(part: Object | str) -> str:
    if isinstance(part, str):
        return clean(part)
    return joined_text(part, _TEXT) if part.get("type") in _TEXT_TYPES else ""


def _refusal(delta: Object) -> str:
    """Return the model's refusal, which LiteLLM 1.106 moves to ``provider_specific_fields``."""
    sent = delta.get("refusal") or as_object(delta.get("provider_specific_fields")).get("refusal")
    return joined_text(sent, _TEXT) if sent else ""


def _reasoning(delta: Object) -> str:
    for name in _REASONING:
        if name in delta and (text := joined_text(delta[name], _THOUGHTS)):
            return text
    return ""


def _calls(delta: Object) -> list[CallPiece]:
    """Return the pieces of tool calls or, if there are none, of the older ``function_call``."""
    sent = delta.get("tool_calls")
    pieces = [_piece(call) for call in as_list(sent) if isinstance(call, dict)] if sent else []
    if pieces or not isinstance(delta.get("function_call"), dict):
        return pieces
    return [_piece({"function": delta["function_call"]})]


def _piece(call: Object) -> CallPiece:
    named = next((call[kind] for kind in ("function", "custom") if isinstance(call.get(kind), dict)), call)
    arguments = named.get("arguments") if named.get("arguments") is not None else named.get("input")
    return CallPiece(
        index=count(call.get("index")),
        id=word(call.get("id")),
        name=word(named.get("name")),
        arguments=_arguments(arguments),
    )


def _arguments(value: object) -> str:
    if isinstance(value, str):
        return clean(value)
    return "" if value is None else as_json(value)


def _finish(value: object) -> str | None:
    if not value:
        return None
    return _FINISHES.get(value.lower(), clean(value)) if isinstance(value, str) else "unknown"
