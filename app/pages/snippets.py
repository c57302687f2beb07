"""The code examples of the landing page, in the order of the page."""

from dataclasses import dataclass

from app.banner import FIRST_QUERY

_HEADERS = '\\\n  -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json"'
_SUBSCRIPTION = (
    'subscription { completion(streamKey: \\"first\\", input: {model: \\"gpt-4o-mini\\", messages: '
    '[{role: USER, content: \\"Hello!\\"}]}) { ... on TextDelta { text } ... on StreamEnded { outcome } } }'
)


@dataclass(frozen=True)
class Snippet:
    """A code example on the landing page. ``name`` is the id of the HTML element. ``about`` describes the example."""

    name: str
    title: str
    about: str
    text: str


def snippets(base: str, token: str | None, *, development_tokens: bool) -> list[Snippet]:
    """Return the landing page's code examples: three shell commands and a Python program.

    The first command exports the token for the other examples.
    """
    return [
        _token(token, development_tokens=development_tokens),
        Snippet(
            "query",
            "A first query",
            "One request reads from several services. GraphiQL has more examples.",
            f'curl -s {base}/graphql {_HEADERS} \\\n  -d \'{{"query": "{FIRST_QUERY}"}}\'',
        ),
        Snippet(
            "subscription",
            "A first subscription",
            "Streams the answer as server-sent events. WebSockets (graphql-transport-ws) work as well.",
            f'curl -sN {base}/graphql -H "Accept: text/event-stream" {_HEADERS} \\\n'
            f'  -d \'{{"query": "{_SUBSCRIPTION}"}}\'',
        ),
        Snippet(
            "openai",
            "OpenAI SDK for Python",
            "pip install openai. Any OpenAI client works: set the base URL and the API key.",
            f"""import os
from openai import OpenAI

client = OpenAI(base_url="{base}/v1", api_key=os.environ["TOKEN"])
for chunk in client.chat.completions.create(
    model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hello!"}}], stream=True
):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)""",
        ),
    ]


def _token(token: str | None, *, development_tokens: bool) -> Snippet:
    if token is not None:
        return Snippet(
            "token", "A token", "A token for Ada, valid for one day at this gateway only.", f"export TOKEN={token}"
        )
    if development_tokens:
        about = "Run it on the gateway's machine, in the gateway's directory."
        return Snippet("token", "A token", about, "export TOKEN=$(.venv/bin/agentgraph token --user ada)")
    return Snippet("token", "A token", "The access token that Supabase returned at sign-in.", "export TOKEN=...")
