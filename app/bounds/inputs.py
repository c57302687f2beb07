"""Bounds on the inputs of mutations and completions."""

from __future__ import annotations

from app.bounds.bound import Bound, bad
from clients.codes import Reason
from resolvers import checks, completing, completion_input, images, passages, public_urls, vetting
from schema.inputs import MAX_TEXT

COMPLETIONS = (
    Bound("message", "the text of a message", bad(Reason.TOO_LONG), f"{MAX_TEXT:,} characters"),
    Bound("completion-messages", "messages of a completion", bad(Reason.RANGE), f"{completion_input.MAX_MESSAGES:,}"),
    Bound("completion-tools", "tools of a completion", bad(Reason.TOOLS), str(completion_input.MAX_TOOLS)),
    Bound("completion-stops", "stop sequences of a completion", bad(Reason.STOP), str(completion_input.MAX_STOPS)),
    Bound("embed-inputs", "inputs of `embed`", bad(Reason.RANGE), str(completing.MAX_INPUTS)),
    Bound("embed-text", "all inputs of `embed` together", bad(Reason.TOO_LONG), f"{completing.MAX_INPUT:,} characters"),
    Bound("embed-dimensions", "`dimensions` of `embed`", bad(Reason.RANGE), f"{completing.MAX_DIMENSIONS:,}"),
    Bound("image-address", "an image's address", bad(Reason.IMAGE), f"{public_urls.MAX_URL:,} characters"),
    Bound("image-data", "an image's data URL", bad(Reason.IMAGE), f"{images.MAX_DATA_URL:,} characters"),
    Bound(
        "addresses",
        "addresses in one completion or message that a service may fetch",
        bad(Reason.RANGE),
        str(vetting.MAX_ADDRESSES),
    ),
    Bound(
        "request-depth",
        "the depth of a completion's parameters, except JSON schemas",
        bad(Reason.REQUEST),
        f"{checks.MAX_NESTING} levels",
    ),
)

AGENTS = (
    Bound(
        "agent-name",
        "an agent's name, of letters, digits, spaces, hyphens, underscores and apostrophes",
        bad(Reason.NAME),
        f"{checks.MAX_NAME} characters",
    ),
    Bound("description", "an agent's description", bad(Reason.TEXT), f"{checks.MAX_DESCRIPTION:,} characters"),
    Bound("tags", "tags of an agent or passage", bad(Reason.TAG), str(checks.MAX_TAGS)),
    Bound("tag", "a tag", bad(Reason.TAG), f"{checks.MAX_TAG} characters"),
    Bound("search", "a search by name", bad(Reason.TEXT), f"{checks.MAX_SEARCH} characters"),
    Bound("summary", "a conversation's summary", bad(Reason.TEXT), f"{checks.MAX_SUMMARY:,} characters"),
    Bound("passage", "a passage's text", bad(Reason.TOO_LONG), f"{passages.MAX_TEXT:,} characters"),
    Bound("memory-query", "a query of `searchMemory`", bad(Reason.TOO_LONG), f"{passages.MAX_QUERY:,} characters"),
    Bound("agent-file", "an Agent File", bad(Reason.TOO_LONG), f"{checks.MAX_SOURCE_BYTES:,} bytes"),
    Bound("variables", "an agent's variables as JSON", bad(Reason.TOO_LONG), f"{checks.MAX_VARIABLES_BYTES:,} bytes"),
    Bound(
        "variables-depth", "the depth of an agent's variables", bad(Reason.VARIABLES), f"{checks.MAX_NESTING} levels"
    ),
)
