"""Formats the text that ``agentgraph serve`` prints at the start.

The text contains the services, the addresses, and an example query.
"""

from __future__ import annotations

from app.settings import Settings

FIRST_QUERY = "{ viewer { email agents(first: 3) { nodes { name model { name } } } } }"


def banner(
    settings: Settings,
    *,
    version: str,
    port: int,
    token: str | None,
    data_path: str | None = None,
    operations_port: int | None = None,
) -> str:
    """Return the text that ``agentgraph serve`` prints at the start."""
    base = _base(settings.bind_host, port)
    operations = base
    if operations_port is not None:
        operations = _base(settings.operations_host or settings.bind_host, operations_port)
    urls = {"AMS": settings.ams_base_url, "Letta": settings.letta_base_url, "LiteLLM": settings.litellm_base_url}
    lines = [f"agentgraph {version} ({settings.environment.value})", ""]
    lines += [f"  {name:<8} {url or 'embedded'}" for name, url in urls.items()]
    if settings.embedded_services:
        lines.append(
            f"  data     {data_path}"
            if data_path
            else "  Embedded data is in memory and is lost when the gateway stops."
        )
    addresses = {
        "Start here": f"{base}/",
        "GraphQL": f"{base}/graphql" + ("" if settings.is_production else "  (GraphiQL in a browser)"),
        "OpenAI": f"{base}/v1",
        **({} if settings.is_production else {"REST docs": f"{base}/docs"}),
        "Health": f"{operations}/health  {operations}/metrics",
    }
    lines += ["", *(f"  {name:<10} {address}" for name, address in addresses.items())]
    if token is not None:
        lines += [
            "",
            "  A development token for Ada, valid for one day. Development tokens are accepted only if",
            "  SUPABASE_URL is unset and ENVIRONMENT is not production:",
            "",
            f"export TOKEN={token}",
            "",
            "  Sign in with supabase-js: the project's URL is the gateway's, and `agentgraph password` prints the",
            "  password of ada@example.com and grace@example.com.",
            "",
            "  A first query:",
            "",
            f'curl -s {base}/graphql -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\',
            f'  -d \'{{"query": "{FIRST_QUERY}"}}\'',
        ]
    return "\n".join([*lines, ""])


def _base(host: str, port: int) -> str:
    reached = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared only
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
