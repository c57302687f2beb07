"""Describes the cause of a connection error in a few words, for operators."""

import os
import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError


def cause_of(error: BaseException) -> str | None:
    """Describe an error's root cause, for example ``connection refused``. Returns ``None`` if the cause is unknown."""
    for one in _chain(error):
        match one:
            case AuthenticationError():
                return "the password in REDIS_PASSWORD or REDIS_URL was refused"
            case ssl.SSLCertVerificationError(
                verify_message=str(text)
            ):  # aiohttp's error has no message, but contains this
                return f"the TLS certificate is not trusted ({text})"
            case ssl.SSLError(reason=str(text)):
                return f"TLS failed ({text.replace('_', ' ').lower()})"
            case ssl.SSLError():
                continue  # a wrapper's errno does not come from the operating system
            case socket.gaierror():
                return "the host name cannot be resolved"
            case TimeoutError():
                return "no answer in time"
            case OSError(errno=int(number)) if number > 0:
                return os.strerror(number).lower()
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [
            getattr(one, "certificate_error", None),
            getattr(one, "os_error", None),
            one.__cause__,
            one.__context__,
        ]
        yield one
