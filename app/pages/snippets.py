"""The landing page's snippets: what to paste, in order. ``base`` is the gateway's own address."""

from __future__ import annotations

from dataclasses import dataclass

from app.banner import FIRST_QUERY

_ASK = '\\\n  -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json"'
_SUBSCRIPTION = (
    'subscription { completion(streamKey: \\"first\\", input: {model: \\"gpt-4o-mini\\", messages: '
    '[{role: USER, content: \\"Hello!\\"}]}) { ... on TextDelta { text } ... on StreamEnded { outcome } } }'
)


@dataclass(frozen=True)
class Snippet:
    """``name`` is its id in the page; ``about`` is a sentence on it."""

    name: str
    title: str
    about: str
    text: str


def snippets(base: str, token: str | None, *, development_tokens: bool) -> list[Snippet]:
    """What a newcomer pastes into a shell, and a Python program; the other three stand on the token."""
    return [
        _token(token, development_tokens=development_tokens),
        Snippet(
            "query",
            "A first query",
            "One request, several services. GraphiQL has more of them.",
            f'curl -s {base}/graphql {_ASK} \\\n  -d \'{{"query": "{FIRST_QUERY}"}}\'',
        ),
        Snippet(
            "subscription",
            "A first subscription",
            "Tokens as they come, as an event stream. The same over WebSocket: graphql-transport-ws.",
            f'curl -sN {base}/graphql -H "Accept: text/event-stream" {_ASK} \\\n'
            f'  -d \'{{"query": "{_SUBSCRIPTION}"}}\'',
        ),
        Snippet(
            "openai",
            "OpenAI SDK for Python",
            "pip install openai. Any OpenAI client does: base URL and key are all there is to set.",
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
            "token", "A token", "Ada's, good for a day, and for this gateway alone.", f"export TOKEN={token}"
        )
    if development_tokens:
        about = "On the machine that runs the gateway, in its folder."
        return Snippet("token", "A token", about, "export TOKEN=$(.venv/bin/agentgraph token --user ada)")
    return Snippet("token", "A token", "The access token that Supabase gave you at sign-in.", "export TOKEN=...")
