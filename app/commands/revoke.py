"""``agentgraph revoke``: revoke a sign-in session at a running gateway."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any

from app.addresses import is_url
from app.commands.tokens import development_token
from app.settings import Settings
from app.usage import UsageError

_MUTATION = """mutation Revoke($id: String!) {
  revokeSession(input: { sessionId: $id }) { sessionId errors { message } }
}"""
_SECONDS = 10.0
_MINUTE_IN_HOURS = 1 / 60


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes urllib refuse redirects, because a redirect would send the token to another address."""

    def redirect_request(self, *_: Any) -> None:
        """Return ``None``, so that urllib does not follow the redirect."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


def run(options: argparse.Namespace) -> None:
    """Revoke a sign-in session with an admin's token.

    The token is in the environment variable ``AGENTGRAPH_TOKEN``. If the variable is empty, use a development token.
    """
    if not is_url(options.url, {"http", "https"}):
        raise UsageError("--url must be the gateway's http:// or https:// URL")
    answer = _answer(f"{options.url.rstrip('/')}/graphql", _token(), options.session)
    errors = [str(error.get("message")) for error in answer.get("errors") or [] if isinstance(error, dict)]
    done = (answer.get("data") or {}).get("revokeSession") if isinstance(answer.get("data"), dict) else None
    if errors or not isinstance(done, dict) or done.get("sessionId") is None:
        raise UsageError(errors[0] if errors else f"{options.url} did not confirm the revocation")
    print(f"Revoked the session {done['sessionId']}.")


def _token() -> str:
    token = os.environ.get("AGENTGRAPH_TOKEN", "").strip()
    if not token:
        if not Settings.load().development_tokens:
            raise UsageError("AGENTGRAPH_TOKEN: required, the access token of an admin")
        return development_token("ada", hours=_MINUTE_IN_HOURS, admin=True)
    if not token.isascii() or not token.isprintable():
        raise UsageError("AGENTGRAPH_TOKEN: must be printable ASCII")
    return token


def _answer(url: str, token: str, session_id: str) -> dict[str, Any]:
    """Send the mutation ``revokeSession``, and return the response.

    Raise UsageError if the server is not a gateway. The error's message does not contain the token.
    """
    body = json.dumps({"query": _MUTATION, "variables": {"id": session_id}}).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the scheme is checked
    try:
        with _OPENER.open(request, timeout=_SECONDS) as answer:
            read = json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            read = json.load(error)
        except ValueError:
            raise UsageError(f"{url} answers with status {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UsageError(f"{url} does not answer as a gateway") from error
    if not isinstance(read, dict):
        raise UsageError(f"{url} does not answer as a gateway")
    return read
