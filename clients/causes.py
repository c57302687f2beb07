"""The cause of a connection error, in a few words, for operators alone."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError


def cause_of(error: BaseException) -> str | None:
    """The cause at the end of an error's chain, such as ``connection refused``; ``None`` for one without a name."""
    for one in _chain(error):
        match one:
            case AuthenticationError():
                return "it asks for another password than REDIS_PASSWORD or the one in REDIS_URL"
            case ssl.SSLCertVerificationError():
                return f"its TLS certificate is not trusted ({getattr(one, 'verify_message', 'verification failed')})"
            case ssl.SSLError(reason=str(text)):
                return f"TLS failed ({text.replace('_', ' ').lower()})"
            case ssl.SSLError():
                continue  # a wrapper; its errno is none of the system's
            case socket.gaierror():
                return "its host name cannot be resolved"
            case TimeoutError():
                return "no answer in time"
            case OSError(errno=int(number)) if number > 0:
                return os.strerror(number).lower()
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes, and the errors that aiohttp keeps in its attributes."""
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
