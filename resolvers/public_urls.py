"""URLs that an upstream may fetch: https URLs of the public internet, checked by their spelling.

LiteLLM, Letta and the model's provider fetch a URL from inside their own networks. A URL is parsed as WHATWG specifies.
It is accepted only if its host is spelled as the parser returns it, so that every parser reads the same host. The
upstream has to check the addresses to which a public name resolves.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import can_ada
import idna
from publicsuffixlist import PublicSuffixList

MAX_URL = 2048
"""The most characters of the URL of an image or a file."""

_AUTHORITY = re.compile(r"https://([^/?#\\@]+)(?:[/?#]|\Z)", re.IGNORECASE)
_PORT = re.compile(r":(\d*)\Z")
_OTHER_DOTS = re.compile(r"[\u3002\uff0e\uff61]")
"""Dots in IDNA, but parts of a label to simpler parsers."""

_FIRST_UNPRIVILEGED = 1024
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+{_LABEL}")
_SUFFIXES = PublicSuffixList(only_icann=True, accept_unknown=False)
"""The endings of names in the public DNS. ``letta.svc``, ``redis.production`` and ``wiki.corp`` have others."""

_NOT_IN_DNS = frozenset({"arpa", "onion"})
"""Endings in the list that are not reachable over the public internet (RFC 8375, RFC 7686)."""

_AZURE_HOST = IPv4Address("168.63.129.16")
"""A public address that is the host of every virtual machine in Azure."""

_GLOBAL_UNICAST = ip_network("2000::/3")
_CARRIES_IPV4 = (ip_network("2001::/32"), ip_network("2002::/16"))
"""Teredo and 6to4 addresses contain an IPv4 address, possibly a private one. NAT64's prefix is outside 2000::/3."""

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]+")
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*:[/\\]|[/\\]{2}[^\s/\\]|www\."
    r"|(?:https?|wss?|ftps?|sftp|file|data|gs|s3|az|abfss?|wasbs?|hdfs|gopher|dict|ldaps?|jar|javascript|blob):",
    re.IGNORECASE,
)
_HEAD = 100


def is_public(url: str) -> bool:
    """Whether every parser reads an https URL with a host of the public internet."""
    if len(url) > MAX_URL or not url.isprintable() or " " in url or "\\" in url:
        return False
    match = _AUTHORITY.match(url)
    if match is None:
        return False
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # TypeError: UTF-8 cannot encode the text
        return False
    return _is_open(parsed.port) and _as_written(match[1], parsed.hostname) and _is_public_host(parsed.hostname)


def looks_like_address(text: str) -> bool:
    """Whether an upstream may fetch a text as a URL. Invisible characters in its scheme are ignored."""
    return _ADDRESS.match(_INVISIBLE.sub("", text[:_HEAD]).lstrip()) is not None


def _is_open(port: str) -> bool:
    """Whether a port, empty for the scheme's default, is allowed."""
    return not port or int(port) >= _FIRST_UNPRIVILEGED


def _as_written(authority: str, hostname: str) -> bool:
    """Whether a URL's host equals the parsed one, apart from capitals, the last dot and Punycode."""
    written = _PORT.sub("", authority).removesuffix(".")
    read = hostname.removesuffix(".")
    if written.isascii():
        return written.lower() == read or _is_same_ipv6(written, read)
    if _OTHER_DOTS.search(written):
        return False
    try:
        return idna.encode(written.lower()).decode() == read
    except idna.IDNAError:
        return False


def _is_same_ipv6(written: str, read: str) -> bool:
    try:
        return ip_address(written.strip("[]")) == ip_address(read.strip("[]"))
    except ValueError:
        return False


def _is_public_host(hostname: str) -> bool:
    try:
        address = ip_address(hostname.strip("[]"))
    except ValueError:
        return _is_public_name(hostname.removesuffix("."))
    return _is_public_ipv4(address) if isinstance(address, IPv4Address) else _is_public_ipv6(address)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and address != _AZURE_HOST


def _is_public_ipv6(address: IPv6Address) -> bool:
    is_native = address in _GLOBAL_UNICAST and not any(address in network for network in _CARRIES_IPV4)
    return is_native and address.is_global and address.scope_id is None


def _is_public_name(name: str) -> bool:
    well_formed = _NAME.fullmatch(name) is not None
    return well_formed and name.rpartition(".")[2] not in _NOT_IN_DNS and _SUFFIXES.privatesuffix(name) is not None
