"""Protection against SSRF: checks that a URL is a public https URL.

LiteLLM, Letta and the model's provider fetch a URL from inside their own networks. A URL is parsed as WHATWG specifies.
The URL's host must be spelled as the parser returns the host, so that every parser reads the same host. The service
that fetches the URL must check the IP addresses of a public host name.
"""

import re
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import can_ada
import idna
from publicsuffixlist import PublicSuffixList

MAX_URL = 2048


_AUTHORITY = re.compile(r"https://([^/?#\\@]+)(?:[/?#]|\Z)", re.IGNORECASE)
_PORT = re.compile(r":(\d*)\Z")
_OTHER_DOTS = re.compile(r"[\u3002\uff0e\uff61]")
"""Characters that IDNA treats as dots, and that simpler parsers treat as part of a label."""

_FIRST_UNPRIVILEGED = 1024
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+{_LABEL}")
_NOT_IN_DNS = frozenset({"arpa", "onion"})
"""Public suffixes that are not reachable over the public internet (RFC 8375, RFC 7686)."""

_AZURE_HOST = IPv4Address("168.63.129.16")
"""The public address at which an Azure virtual machine reaches its host."""

_GLOBAL_UNICAST = ip_network("2000::/3")
_CARRIES_IPV4 = (ip_network("2001::/32"), ip_network("2002::/16"))
"""Networks of Teredo and 6to4, whose addresses contain an IPv4 address. The IPv4 address can be private."""

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]+")
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*:[/\\]|[/\\]{2}[^\s/\\]|www\."
    r"|(?:https?|wss?|ftps?|sftp|file|data|gs|s3|az|abfss?|wasbs?|hdfs|gopher|dict|ldaps?|jar|javascript|blob):",
    re.IGNORECASE,
)
_HEAD = 100


@cache
def _suffixes() -> PublicSuffixList:
    """Return the suffixes of the public DNS. Private names such as ``letta.svc`` and ``wiki.corp`` have other suffixes.

    The first call reads the list, which takes 30 ms and 2 MB of memory.
    """
    return PublicSuffixList(only_icann=True, accept_unknown=False)


def is_public(url: str) -> bool:
    """Return whether a text is an https URL with a public host. All URL parsers must find the same host."""
    if len(url) > MAX_URL or not url.isprintable() or " " in url or "\\" in url:
        return False
    match = _AUTHORITY.match(url)
    if match is None:
        return False
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # TypeError: UTF-8 cannot encode the text
        return False
    return (
        _is_allowed_port(parsed.port) and _is_canonical(match[1], parsed.hostname) and _is_public_host(parsed.hostname)
    )


def looks_like_address(text: str) -> bool:
    """Return whether a service might read a text as a URL. The function ignores invisible characters in the scheme."""
    return _ADDRESS.match(_INVISIBLE.sub("", text[:_HEAD]).lstrip()) is not None


def _is_allowed_port(port: str) -> bool:
    return not port or int(port) >= _FIRST_UNPRIVILEGED


def _is_canonical(authority: str, hostname: str) -> bool:
    """Return whether parsing keeps a host's spelling. Capitals, a trailing dot and Punycode may change."""
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
    return well_formed and name.rpartition(".")[2] not in _NOT_IN_DNS and _suffixes().privatesuffix(name) is not None
