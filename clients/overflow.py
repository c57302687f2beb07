"""Recognises errors about inputs that are longer than a model's context window."""

import re

SEARCHED_CHARACTERS = 20_000
"""The gateway searches only this number of characters in an error's text."""


def any_of(*patterns: str) -> re.Pattern[str]:
    """Combine regular expressions: the result matches if any of them matches. The result ignores case."""
    return re.compile("|".join(patterns), re.IGNORECASE)


_CONTEXT_LENGTH = any_of(
    r"maximum (?:context|prompt) (?:length|limit)|longer than the (?:model's context|maximum model length)",
    r"context_(?:window|length)_exceeded|ContextWindowExceeded",
    r"exceed(?:s|ed)? (?:the )?context (?:limit|window|length)",
    r"exceeds? the (?:available context size|maximum allowed (?:input )?length|maximum number of tokens allowed)",
    r"input tokens exceed the configured limit|exceeded model token limit|context window exceeds limit",
    r"context (?:length|window) (?:was |is )?exceeded|exceed(?:s|ed)? (?:the )?max(?:imum)? context",
    r"context length of only|exceeds? maximum allowed token size|more than max tokens allowed",
    r"(?:prompt|input) is too long|input too long:|too many (?:input )?tokens|length limit exceeded",
    r"current length is .{1,40} while limit is|maximum input length is .{1,40}tokens",
    r"`inputs` tokens \+ `max_new_tokens` must be|input text length should not exceed|range of input length should be",
    r"request payload size exceeds|reduce the length of (?:the|your) (?:messages|prompt|input)",
)
"""Phrases in errors about inputs that exceed a model's context window.

The phrases are from LiteLLM 1.110.2's ``exception_mapping_utils``, and from providers whose errors LiteLLM passes on:
xAI, Moonshot, MiniMax, Alibaba, vLLM and SGLang.
"""
_NO_CONTEXT_LENGTH = any_of(r"string_above_max_length", r"invalid 'user'", r"tokens per minute")
"""Phrases in errors about inputs that exceed a different limit than the context window."""


def is_too_long(text: str) -> bool:
    """Return whether an error reports that the input exceeds the model's context window."""
    text = text[:SEARCHED_CHARACTERS]
    return _CONTEXT_LENGTH.search(text) is not None and _NO_CONTEXT_LENGTH.search(text) is None
