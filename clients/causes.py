"""Describes the cause of a connection error in a few words, for operators."""

import os
import socket
import ssl
import sys
from collections.abc import Iterator


def cause_of(error: BaseException) -> str | None:
    """Describe an error's root cause, for example ``connection refused``. Returns ``None`` if the cause is unknown."""
    for one in _chain(error):
        match one:
            case _ if _is_refused_password(one):
                return "the password in REDIS_PASSWORD or REDIS_URL was refused"
            case ssl.SSLCertVerificationError(verify_message=str(text)):
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


def _is_refused_password(error: BaseException) -> bool:
    redis = sys.modules.get("redis.exceptions")  # redis-py is imported only if it is used
    return redis is not None and isinstance(error, redis.AuthenticationError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        yield one
