"""Recognises Letta's App Server, which does not have the API that the gateway calls.

The App Server is a part of Letta Code, the program that ``pip install letta`` installs. ``docs/letta.md`` compares both
servers.
"""

import time
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from clients.calls import Answer, CallScope
from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import GatewayError, Service, UpstreamError, WrongServer
from clients.upstream import Upstream

HEALTH_PATH = "/v1/health/"
"""The path of Letta's health check. At this path, the App Server answers 404 without a body."""

NOT_FOUND = 404

INFO_PATH = "/app-server-info"
"""The path at which the App Server describes itself. If the App Server has a token, the path requires the token."""

_INFO_SECONDS = 1.0
"""The timeout of the request for this path, shorter than that of a health check."""

_INFO_TYPE = "app_server_info_response"
_UNAUTHORIZED = 401

APP_SERVER = (
    "Letta's App Server, which `pip install letta` installs and which does not have the API that the gateway calls"
)
"""What an App Server is, for error messages."""

CURE = (
    "Run Letta 0.16.8 (the image letta/letta:0.16.8, or `pip install letta==0.16.8`), and set LETTA_BASE_URL to its "
    "http:// or https:// URL. docs/letta.md says more."
)
"""What an operator must do to replace an App Server."""


class _Info(msgspec.Struct):
    type: str


_INFO = msgspec.json.Decoder(_Info)


async def other_server(upstream: Upstream, scope: CallScope, health: Answer) -> UpstreamError:
    """Return the error for a server that answered ``health``, a 404, to Letta's health check.

    The function asks the server whether it is an App Server, and stores nothing. The error names no part of
    ``LETTA_BASE_URL``, because every user can read the error in ``platform``.
    """
    soon = replace(scope, deadline=min(scope.deadline, time.monotonic() + _INFO_SECONDS))
    try:
        info = await upstream.pinged(soon, INFO_PATH)
    except GatewayError:
        return _unknown_server()  # the 404 remains the best description
    return described(health, info)


def described(health: Answer, info: Answer) -> UpstreamError:
    """Return the error for a server that answered ``health``, a 404, to Letta's health check, and ``info``."""
    if _is_app_server(info):
        return WrongServer(f"The server at LETTA_BASE_URL is {APP_SERVER}. {CURE}", service=Service.LETTA)
    if info.status == _UNAUTHORIZED and is_bare(health.headers, health.body):
        return _refused(
            f"The server at LETTA_BASE_URL has no {HEALTH_PATH} (status 404), but requires a token at {INFO_PATH} "
            f"(status 401). So it is probably {APP_SERVER}. {CURE}"
        )
    return _unknown_server()


def is_bare(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an answer has no body, as the App Server's 404. Letta's 404 is JSON, even if its body is lost."""
    return not body and "content-type" not in headers


def _is_app_server(info: Answer) -> bool:
    try:
        return info.status == 200 and _INFO.decode(info.body).type == _INFO_TYPE
    except UNREADABLE:
        return False


def _unknown_server() -> UpstreamError:
    return _refused(
        f"The server at LETTA_BASE_URL has no {HEALTH_PATH} (status 404). Either the server is not Letta, or the path "
        "in LETTA_BASE_URL is wrong. docs/letta.md says which Letta the gateway needs."
    )


def _refused(message: str) -> UpstreamError:
    return UpstreamError(message, reason=Reason.STATUS, service=Service.LETTA, can_retry=False)
