"""Validates URLs, hosts and addresses in settings. Error messages never contain a password."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

_API = re.compile(r"/v1(/(agents|models|chat|completions|embeddings|health|runs|messages)(/.*)?)?$", re.IGNORECASE)
_PAGE = re.compile(r"/(ui|docs|redoc|health|chat/completions)$", re.IGNORECASE)
_OWN = re.compile(r"/(v1(/(chat|models|embeddings)(/.*)?)?|graphql|api/v1(/agents(/.*)?)?)$", re.IGNORECASE)
_SUPABASE_API = re.compile(r"/(auth|rest|functions|storage|realtime)/v1(/.*)?$", re.IGNORECASE)
ALL_PROXIES = "*"
"""The value of ``FORWARDED_ALLOW_IPS`` that trusts all proxies."""

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


def letta_url(value: str | None) -> str | None:
    """Validate Letta's base URL. The gateway appends ``/v1/...`` to the URL."""
    if value is not None and is_url(value, {"ws", "wss"}):
        from clients.letta.app_server import APP_SERVER, CURE  # noqa: PLC0415 - only for this error

        raise ValueError(f"must be an http:// or https:// URL. A ws:// URL leads to {APP_SERVER}. {CURE}")
    return _checked(value, _no_api)


def litellm_url(value: str | None) -> str | None:
    """Validate LiteLLM's base URL. The URL may end with ``/api/v1`` if this path is LiteLLM's ``SERVER_ROOT_PATH``."""
    return _checked(value, lambda parts: None if parts.path == "/api/v1" else _no_api(parts))


def ams_url(value: str | None) -> str | None:
    """Validate AMS's base URL. If AMS is a Supabase Edge Function, the URL must contain the function's path."""
    return _checked(value, _function)


def supabase_url(value: str | None) -> str | None:
    """Validate the Supabase project's URL. The project's tokens have the issuer ``<SUPABASE_URL>/auth/v1``."""
    return _checked(value, _project)


def issuer(value: str | None) -> str | None:
    """Validate the setting for the tokens' issuer. Raise ValueError if the setting is not a URL.

    The URL is not normalized, because a token's ``iss`` must be equal to it.
    """
    if value is not None and not is_url(value, {"http", "https"}):
        raise ValueError(f"must be an http:// or https:// URL{_hint(value)}")
    return value


def public_url(value: str | None) -> str | None:
    """Validate ``PUBLIC_URL``. Letta calls the gateway at ``<PUBLIC_URL>/api/v1/agents/...``."""
    return _checked(value, lambda parts: _without(parts, _OWN))


def _checked(value: str | None, problem: Callable[[SplitResult], str | None]) -> str | None:
    """Return the URL without trailing slashes. Raise ValueError if the URL is invalid."""
    if value is None:
        return None
    if not is_url(value, {"http", "https"}):
        raise ValueError(f"must be an http:// or https:// URL{_hint(value)}")
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise ValueError("must have no user name or password: set each key in its own variable")
    if "?" in value or "#" in value:
        raise ValueError("must have neither a query (?) nor a fragment (#)")
    stripped = parts._replace(path=parts.path.rstrip("/"))
    if (wrong := problem(stripped)) is not None:
        raise ValueError(wrong)
    return stripped.geturl()


def _no_api(parts: SplitResult) -> str | None:
    return _without(parts, _API) or _without(parts, _PAGE)


def _without(parts: SplitResult, ending: re.Pattern[str]) -> str | None:
    found = ending.search(parts.path)
    if found is None:
        return None
    base = parts._replace(path=parts.path[: found.start()]).geturl()
    return f"must be the base URL, without {found[0]}, because the gateway appends the paths. Write {base}"


def _function(parts: SplitResult) -> str | None:
    if (parts.hostname or "").endswith(".supabase.co") and not parts.path:
        return f"must include the function's path. Write {parts.geturl()}/functions/v1/ams, with the function's name"
    return None


def _project(parts: SplitResult) -> str | None:
    if parts.hostname in {"supabase.com", "app.supabase.com", "www.supabase.com"}:
        return "must be the project's URL, https://<ref>.supabase.co, not the dashboard's"
    return _without(parts, _SUPABASE_API)


def redis_url(value: str | None) -> str | None:
    """Validate Redis's URL. Raise ValueError if redis-py would ignore or reject a part of the URL."""
    if value is None:
        return None
    from clients.state.link import is_usable  # noqa: PLC0415 - redis-py is imported only if it is used

    if not is_url(value, {"redis", "rediss"}) and not value.startswith("unix:///"):
        raise ValueError(f"must be a redis://, rediss:// or unix:// URL{_hint(value)}")
    parts = urlsplit(value)
    if parts.scheme != "unix" and not re.fullmatch(r"(/\d*)?", parts.path):
        raise ValueError("must end with a database number, as in redis://host:6379/0, or have no path")
    if parts.fragment or not is_usable(value):
        raise ValueError("may have only redis-py options after ?, such as db=<number>, and must have no fragment (#)")
    return value


def is_url(value: str, schemes: set[str]) -> bool:
    """Return whether ``value`` is a URL with a host and an allowed scheme."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = value.isascii() and value.isprintable() and not set(value) & set(" \"'<>\\")
    return plain and parts.scheme in schemes and bool(parts.hostname) and port != 0


def _hint(value: str) -> str:
    if value[:1] in {'"', "'"}:
        return ", without quotes: Docker keeps the quotes in an --env-file"
    if value != value.strip():
        return ", without spaces or line ends around it"
    if "://" not in value:
        return ", including the scheme"
    return ""


def host(value: str | None) -> str | None:
    """Validate the address on which the gateway listens. Raise ValueError if the address is invalid."""
    if value is None:
        return None
    bare = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
    is_ip6 = ":" in bare and set(bare.partition("%")[0]) <= set("0123456789abcdefABCDEF:.")
    if is_ip6 and bare.count(":") > 1:
        return bare
    if _HOST.fullmatch(bare) is None or ".." in bare:
        raise ValueError("must be a host name or an IP address, without a scheme. Set the port with PORT")
    return bare


def proxies(value: str) -> str:
    """Validate ``FORWARDED_ALLOW_IPS``. Raises ValueError: uvicorn would ignore what is no address."""
    texts = [text.strip() for text in value.split(",") if text.strip()]
    if ALL_PROXIES in texts and len(texts) > 1:
        raise ValueError("* trusts all proxies, so write either * or addresses")
    for text in texts if texts != [ALL_PROXIES] else ():
        try:
            ip_network(text) if "/" in text else ip_address(text)
        except ValueError as error:
            problem = "has host bits set" if "host bits" in str(error) else "is no IP address and no network"
            raise ValueError(f"{text[:80]!r} {problem}. Write addresses or networks, such as 10.0.0.0/8") from None
    return ",".join(texts)
