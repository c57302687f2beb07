"""Describes the bounds on the inputs of mutations and completions."""

from app.bounds.bound import Bound, bad
from clients.codes import Reason
from resolvers import checks, completing, completion_input, images, passages, public_urls, vetting
from resolvers.message_parts import MAX_TEXT
from schema.inputs import MAX_DOLLARS

_EMBED = "the input of `embed`"
_IMAGE = "an image"

COMPLETIONS = (
    Bound("message", "a message's text", bad(Reason.TOO_LONG), f"{MAX_TEXT:,} characters"),
    Bound("completion-messages", "messages in a completion", bad(Reason.RANGE), f"{completion_input.MAX_MESSAGES:,}"),
    Bound("completion-tools", "tools in a completion", bad(Reason.TOOLS), str(completion_input.MAX_TOOLS)),
    Bound("completion-stops", "stop sequences in a completion", bad(Reason.STOP), str(completion_input.MAX_STOPS)),
    Bound("max-cost", "`maxCostUsd`", bad(Reason.RANGE), f"{MAX_DOLLARS:,} US dollars"),
    Bound("embed-inputs", _EMBED, bad(Reason.RANGE), f"{completing.MAX_INPUTS} texts"),
    Bound("embed-dimensions", _EMBED, bad(Reason.RANGE), f"{completing.MAX_DIMENSIONS:,} `dimensions`"),
    Bound("embed-text", "all texts of `embed` together", bad(Reason.TOO_LONG), f"{completing.MAX_INPUT:,} characters"),
    Bound("image-address", _IMAGE, bad(Reason.IMAGE), f"{public_urls.MAX_URL:,} characters in its https URL"),
    Bound("image-data", _IMAGE, bad(Reason.IMAGE), f"{images.MAX_DATA_URL:,} characters in its data URL"),
    Bound(
        "addresses",
        "URLs that a service may fetch, in one completion or message",
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

_DATA = "a passage, search query, Agent File or JSON value"
_TEXT = "a description, summary or search text"
_TAGS = "the tags of an agent or passage"

AGENTS = (
    Bound(
        "agent-name",
        "an agent's name; only letters, digits, spaces, hyphens, underscores and apostrophes are allowed",
        bad(Reason.NAME),
        f"{checks.MAX_NAME} characters",
    ),
    Bound("description", _TEXT, bad(Reason.TEXT), f"{checks.MAX_DESCRIPTION:,} characters for an agent's description"),
    Bound("summary", _TEXT, bad(Reason.TEXT), f"{checks.MAX_SUMMARY:,} characters for a conversation's summary"),
    Bound("search", _TEXT, bad(Reason.TEXT), f"{checks.MAX_SEARCH} characters for a search by name"),
    Bound("tags", _TAGS, bad(Reason.TAG), f"{checks.MAX_TAGS} tags"),
    Bound("tag", _TAGS, bad(Reason.TAG), f"{checks.MAX_TAG} characters in a tag"),
    Bound("passage", _DATA, bad(Reason.TOO_LONG), f"{passages.MAX_TEXT:,} characters for a passage"),
    Bound("memory-query", _DATA, bad(Reason.TOO_LONG), f"{passages.MAX_QUERY:,} characters for `searchMemory(query:)`"),
    Bound("agent-file", _DATA, bad(Reason.TOO_LONG), f"{checks.MAX_SOURCE_BYTES:,} bytes for an Agent File"),
    Bound(
        "variables",
        _DATA,
        bad(Reason.TOO_LONG),
        f"{checks.MAX_VARIABLES_BYTES:,} bytes for an agent's variables as JSON",
    ),
    Bound(
        "variables-depth", "the depth of an agent's variables", bad(Reason.VARIABLES), f"{checks.MAX_NESTING} levels"
    ),
)
