"""The error for a stream that only the store can have while the store is unavailable."""

from clients.codes import Reason
from clients.errors import Service, UpstreamUnavailable


def unavailable() -> UpstreamUnavailable:
    """Return the error. The stream may exist, so NOT_FOUND would be wrong."""
    message = (
        "The gateway cannot read the streams of other gateway processes, because Redis is unavailable. Retry the "
        "request."
    )
    return UpstreamUnavailable(message, reason=Reason.CONNECT, service=Service.REDIS, retry_after_seconds=1.0)
