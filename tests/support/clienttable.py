"""Run the client libraries, and write ``docs/clients.md``: ``python -m tests.support.clienttable``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import agentcases as agents
from tests.support import clientcases as models
from tests.support import lettacases as letta
from tests.support.clientcases import Case, Cell, LacksError
from tests.support.libraries import LIBRARIES, Library, Running, running
from tests.support.stack import embedded_stack

LACKS = "—"
PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
AT_ONCE = 3
"""How many libraries run at the same time."""
LETTA_KEY = "letta-" + "k" * 32
NEEDS = {
    **{name: name for name in ("models", "plain", "stream", "tools", "structured", "embeddings", "abort")},
    "clients_tools": "tools",
    "broken": "stream",
}
"""The library's case that a case runs, if it is not ``plain``."""

HEAD = """# Client libraries

The tables list what published client libraries do with the gateway. A test runs each library with a gateway and embedded
services, and compares what it sees with the tables. The libraries have their default settings, and these versions are the
newest that can be installed together. `make clients` runs the libraries again, and writes this page.

| column | what the test checks |
|---|---|
| models | the library lists the models and reads one |
| plain | the answer has the model's text and token counts, after one request |
| stream | the text arrives once, in several parts, with the token counts |
| tools | the model calls a tool, the library runs the tool and sends its result, and the model answers |
| structured output | the answer has the requested JSON schema |
| embeddings | two texts get the vectors that the model computes |
| abort | the client stops reading after the first part, and the gateway cancels the model's answer |
| invalid token to unknown parameter | the gateway refuses the request with this status |
| spent budget | the user's budget for model calls is spent |
| rate limit | the model refuses the request with 429 and `Retry-After: 2` |
| broken stream | the model's answer breaks off in the middle |

- **✓**: the test has seen this.
- **—**: the library does not offer this.
- **✓ at its end**: the library does not ask for a stream, and divides the complete answer.
- **the model goes on**: the library keeps the connection open, so the gateway cannot know that the client has left. The model
  completes its answer, and the user pays for the answer.
- A class such as `NotFoundError`: the library raises this error. The [code](limits.md#errors-at-v1) follows if the library shows
  the code. Otherwise, the library shows only the gateway's message.
- **3 requests**: the library repeats the request, and then raises the error. Without a number, the library sends one request.
"""  # noqa: E501 - a page
NOTES = """## Notes

- **llama-index** keeps a stream's connection open even if the generator is closed. To stop the model, pass an `httpx.AsyncClient`
  as `async_http_client`, and close this client. `create_partial` of **instructor** keeps the connection open, too.
- **llama-index** repeats a request that its OpenAI SDK has already repeated. To send one request, set `max_retries=0`. `OpenAI` and
  `OpenAIResponses` accept only OpenAI's models. For different models, use `OpenAILike`.
- **llama-index** and **instructor** do not read the event `response.failed`. If the answer must be complete, use chat completions.
- **openai-python** and **openai-node** yield `response.failed` like any other event. A client must read the event.
- **AI SDK**: if an answer breaks off, `textStream` ends as if the answer were complete. The error is in `onError`, and in the part
  `error` of `stream`. `@ai-sdk/openai` cannot send a parameter that it does not know.
- **LiteLLM SDK** does not stream Responses of models that it does not know, such as agents. Before the first request, call
  `litellm.register_model({"openai/agent-…": {"litellm_provider": "openai", "mode": "responses"}})`.
- **letta-client** sends a message again if Letta answers with 429 or 500. For Letta, this is a new message, which starts a new
  turn. To send the message once, set `max_retries=0`.
"""  # noqa: E501 - a page

AGENTS = """The model is an [agent](agents-as-models.md). Letta runs the agent's tools, so the gateway refuses the tools
of the client."""
LETTA = """The client calls Letta, and Letta calls the model through the gateway's
[proxy](operating.md#letta-calls-back). Letta runs the tools."""

Place = Callable[[Running, str], AbstractAsyncContextManager[Cell]]
Lines = dict[tuple[str, int], str]
"""A library's line in each table, by the section's title and the table's number."""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        endpoint: what a library must offer.
        place: starts a gateway, and yields the cell.
        tables: the cases of each table, by the column's heading.
    """

    title: str
    text: str
    endpoint: str
    place: Place
    tables: tuple[dict[str, Case], ...]


@asynccontextmanager
async def model(ran: Running, endpoint: str) -> AsyncIterator[Cell]:
    async with embedded_stack() as stack:
        yield Cell(stack, ran, endpoint, stack.url, stack.token(), stack.chat_model)


@asynccontextmanager
async def agent(ran: Running, endpoint: str) -> AsyncIterator[Cell]:
    async with embedded_stack() as stack:
        yield Cell(stack, ran, endpoint, stack.url, stack.token(), await stack.make_agent())


@asynccontextmanager
async def proxy(ran: Running, endpoint: str) -> AsyncIterator[Cell]:
    async with embedded_stack(letta_proxy_key=LETTA_KEY) as stack, stack.circle(letta_key=LETTA_KEY):
        url, key, agent = stack.servers["letta"].url, stack.platform.options.letta_key, await stack.make_agent()
        yield Cell(stack, ran, endpoint, url, key, agent, route="/api/v1/agents/")


OF_MODELS: tuple[dict[str, Case], ...] = (
    {
        "models": models.models,
        "plain": models.plain,
        "stream": models.stream,
        "tools": models.tools,
        "structured output": models.structured,
        "embeddings": models.embeddings,
        "abort": models.abort,
    },
    {
        "invalid token, 401": models.bad_token,
        "unknown model, 404": models.unknown_model,
        "unknown parameter, 400": models.unknown_parameter,
        "spent budget, 402": models.no_budget,
        "rate limit, 429": models.rate_limited,
        "broken stream": models.broken,
    },
)
RESPONSES = (
    {name: case for name, case in OF_MODELS[0].items() if name not in {"models", "embeddings"}},
    OF_MODELS[1],
)
OF_AGENTS: tuple[dict[str, Case], ...] = (
    {
        "models": models.models,
        "plain": agents.plain,
        "stream": agents.stream,
        "the agent's tools": agents.tools,
        "abort": agents.abort,
    },
    {
        "invalid token, 401": models.bad_token,
        "unknown agent, 404": agents.unknown_agent,
        "the client's tools, 400": agents.clients_tools,
        "structured output, 400": agents.structured,
        "spent budget, 402": agents.no_budget,
        "rate limit, 429": agents.rate_limited,
        "broken stream": agents.broken,
    },
)
RESPONSES_OF_AGENTS = (
    {name: case for name, case in OF_AGENTS[0].items() if name != "models"},
    {name: case for name, case in OF_AGENTS[1].items() if name != "rate limit, 429"},  # it waits for seconds
)
OF_LETTA: tuple[dict[str, Case], ...] = (
    {
        "plain": letta.plain,
        "stream": letta.stream,
        "tools": letta.tools,
        "embeddings": letta.embeddings,
        "abort": letta.abort,
    },
    {
        "unknown agent": letta.no_agent,
        "spent budget": letta.no_budget,
        "rate limit": letta.rate_limited,
        "broken stream": letta.broken,
    },
)
SECTIONS = (
    Section("Models at chat completions", "The endpoint is `/v1/chat/completions`.", "chat", model, OF_MODELS),
    Section("Models at Responses", "The endpoint is `/v1/responses`.", "responses", model, RESPONSES),
    Section("Agents at chat completions", AGENTS, "chat", agent, OF_AGENTS),
    Section("Agents at Responses", AGENTS, "responses", agent, RESPONSES_OF_AGENTS),
    Section("letta-client", LETTA, "letta", proxy, OF_LETTA),
)


async def lines_of(library: Library, folder: Path) -> Lines:
    """Run a library's cases. Raises AssertionError that names every failed cell."""
    lines: Lines = {}
    failed: list[str] = []
    async with running(library, folder) as ran:
        version = next(iter(ran.versions.values()))
        beside = "".join(f" with {name} {other}" for name, other in list(ran.versions.items())[1:])
        label = f"{library.name} {version}{beside}"
        for section in SECTIONS:
            if section.endpoint not in library.endpoints:
                continue
            async with section.place(ran, section.endpoint) as cell:
                for number, columns in enumerate(section.tables):
                    cells = [label]
                    for heading, case in columns.items():
                        try:
                            cells.append(await case(cell) if offers(ran, case) else LACKS)
                        except LacksError:
                            cells.append(LACKS)
                        except AssertionError as error:
                            failed.append(f"{section.title}, {heading}: {error!r}")
                    lines[section.title, number] = f"| {' | '.join(cells)} |"
    assert not failed, "\n".join(failed)
    return lines


def offers(ran: Running, case: Case) -> bool:
    """Return whether a library offers what a case needs."""
    return NEEDS.get(case.__name__, "plain") in ran.cases


def page(lines: dict[str, Lines]) -> str:
    """Return the page. ``lines`` has each library's lines, by its name."""
    return "\n".join([HEAD, *(line for section in SECTIONS for line in _section(section, lines)), NOTES])


def _section(section: Section, lines: dict[str, Lines]) -> Iterator[str]:
    yield from (f"## {section.title}", "")
    if section.text:
        yield from (section.text, "")
    for number, columns in enumerate(section.tables):
        yield f"| library | {' | '.join(columns)} |"
        yield "|---" * (len(columns) + 1) + "|"
        for of_library in lines.values():
            if (line := of_library.get((section.title, number))) is not None:
                yield line
        yield ""


def committed(library: Library) -> list[str]:
    """Return a library's lines in the committed page."""
    return [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {library.name} ")]


async def _measured() -> dict[str, Lines]:
    places = asyncio.Semaphore(AT_ONCE)

    async def measured(library: Library, folder: Path) -> Lines:
        async with places:
            return await lines_of(library, folder)

    with tempfile.TemporaryDirectory() as folder:
        each = [measured(library, Path(tempfile.mkdtemp(dir=folder))) for library in LIBRARIES]
        lines = await asyncio.gather(*each, return_exceptions=True)
    if failed := [one for one in lines if isinstance(one, BaseException)]:
        raise BaseExceptionGroup("Libraries failed.", failed)
    return {library.name: one for library, one in zip(LIBRARIES, lines, strict=True) if isinstance(one, dict)}


if __name__ == "__main__":
    PAGE.write_text(page(asyncio.run(_measured())))
