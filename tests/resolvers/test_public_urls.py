"""Which URLs an upstream may be asked to fetch."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import can_ada
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from resolvers.public_urls import MAX_URL, is_public, looks_like_address

PUBLIC = [
    "https://example.com/a.png",
    "https://example.com",
    "https://example.com?x=1",
    "https://example.com/a@b.png",
    "https://EXAMPLE.com./a",
    "HTTPS://example.com/a",
    "https://example.com:443/a",
    "https://example.com:8443/a",
    "https://a.b.example.co.uk/a",
    "https://my_bucket.s3.eu-west-1.amazonaws.com/a",
    "https://münchen.de/a.png",
    "https://xn--mnchen-3ya.de/a.png",
    "https://пример.рф/кот.png",
    "https://8.8.8.8/a",
    "https://[2606:4700::1111]/a",
    "https://[2606:4700:0:0:0:0:0:1111]/a",
]
INSIDE = [
    "https://localhost/",
    "https://a.localhost/",
    "https://letta/",
    "https://letta.svc/",
    "https://letta.default.svc.cluster.local/",
    "https://redis.production/",
    "https://kubernetes.default/",
    "https://wiki.corp/",
    "https://wiki.CORP./",
    "https://printer.local/",
    "https://router.lan/",
    "https://router.home/",
    "https://nas.home.arpa/",
    "https://1.0.0.127.in-addr.arpa/",
    "https://metadata.google.internal/",
    "https://db.intranet/",
    "https://x.onion/",
    "https://a.test/",
    "https://a.invalid/",
    "https://com/",
    "https://co.uk/",
    "https://169.254.169.254/latest/meta-data",
    "https://168.63.129.16/machine",
    "https://100.100.100.200/",
    "https://192.168.1.1:8443/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://0/",
    "https://[::]/",
    "https://[::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff0e::1]/",
    "https://[2001:db8::1]/",
]
AMBIGUOUS = [
    "",
    "example.com/a.png",
    "//example.com/a.png",
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "https://",
    "https:example.com/a.png",
    "https:/example.com/a.png",
    "https:///example.com/a.png",
    "https:\\\\example.com\\a.png",
    "https://example.com\\@127.0.0.1/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com:0/",
    "https://example.com:22/",
    "https://example.com:99999/",
    "https://example.com:nonsense/",
    "https://exa mple.com/",
    "https://example.com/a b.png",
    "https://exam\tple.com/",
    " https://example.com/",
    "https://example.com/\n.png",
    "https://example.com/\u202egnp.a",
    "https://ex%61mple.com/",
    "https://example.com%2f@127.0.0.1/",
    "https://example..com/",
    "https://.example.com/",
    "https://example.com../",
    "https://-/",
    "https://xn--a.com/",
    "https://a\ud800.com/",
    f"https://{'a' * 64}.com/",
    f"https://{'.'.join(['a' * 60] * 5)}.com/",
    "https://134744072/",
    "https://8.8.2056/",
    "https://1.1.1.1%2e/",
    "https://\u24d0example.com/",
    "https://\uff45xample.com/",
    "https://example\u3002com/",
]


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_url_is_accepted(url: str) -> None:
    assert is_public(url)


@pytest.mark.parametrize("url", INSIDE)
def test_an_internal_url_is_refused(url: str) -> None:
    assert not is_public(url)


@pytest.mark.parametrize("url", AMBIGUOUS, ids=ascii)
def test_an_ambiguous_url_is_refused(url: str) -> None:
    assert not is_public(url)


def test_the_longest_url() -> None:
    base = "https://example.com/"
    assert is_public(base + "a" * (MAX_URL - len(base)))
    assert not is_public(base + "a" * (MAX_URL - len(base) + 1))


FULL_WIDTH = str.maketrans("0123456789.abcdefx", "０１２３４５６７８９．ａｂｃｄｅｆｘ")  # noqa: RUF001
PRIVATE = st.sampled_from(["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "172.16.9.9", "0.0.0.0"])


def _octets(address: IPv4Address) -> list[int]:
    return list(address.packed)


def _short(address: IPv4Address) -> str:
    first, *rest = _octets(address)
    return f"{first}.{int.from_bytes(bytes(rest), 'big')}"


def _ipv6(prefix: str, address: IPv4Address, shift: int = 0) -> str:
    return f"[{IPv6Address(int(IPv6Address(prefix)) | int(address) << shift)}]"


SPELLINGS = [
    str,
    lambda a: str(int(a)),
    lambda a: hex(int(a)),
    lambda a: oct(int(a)).replace("0o", "0"),
    lambda a: ".".join(f"0{octet:o}" for octet in _octets(a)),
    lambda a: ".".join(hex(octet) for octet in _octets(a)),
    _short,
    lambda a: f"{a}.",
    lambda a: str(a).translate(FULL_WIDTH),
    lambda a: hex(int(a)).translate(FULL_WIDTH),
    lambda a: str(a).replace(".", "。"),
    lambda a: "".join(f"%{ord(c):02x}" for c in str(a)),
    lambda a: f"user@{a}",
    lambda a: f"example.com@{a}",
    lambda a: f"example.com\\@{a}",
    lambda a: str(a)[:1] + "\t" + str(a)[1:],
    lambda a: str(a)[:1] + "\u00ad" + str(a)[1:],
    lambda a: f"[::ffff:{a}]",
    lambda a: _ipv6("::ffff:0:0", a),
    lambda a: _ipv6("::", a),
    lambda a: _ipv6("64:ff9b::", a),
    lambda a: _ipv6("64:ff9b:1::", a),
    lambda a: _ipv6("2002::", a, 80),
    lambda a: _ipv6("2001::", IPv4Address(int(a) ^ 0xFFFFFFFF)),
]


@settings(deadline=None)
@given(PRIVATE, st.sampled_from(SPELLINGS), st.sampled_from(["https://", "HTTPS://", "https:\\\\", "https:/"]))
def test_private_addresses_are_refused(text: str, spell: Callable[[IPv4Address], str], scheme: str) -> None:
    assert not is_public(f"{scheme}{spell(IPv4Address(text))}/a.png")


PIECES = st.sampled_from([
    "https:", "//", "/", "\\", "@", ":", ".", "..", "%", "#", "?", "[", "]", "127.0.0.1", "0x7f", "10.1",
    "localhost", "example.com", "com", "a", "svc", "ß", "ⓐ", "xn--", "443", "8443", "\t", "\n", "user", "::1",
    "::ffff:", "\uff11", "\uff12", "。", "64:ff9b::", "%2e", "%00", "﹒", "\u0131", "\u212a",
])  # fmt: skip


@settings(deadline=None, max_examples=400)
@example("https://\u24d0example.com/")
@given(st.lists(PIECES, max_size=8).map("".join).map("https://".__add__) | st.text(max_size=30).map("https://".__add__))
def test_all_parsers_agree_on_the_host_of_an_accepted_url(url: str) -> None:
    if not is_public(url):
        return
    host = can_ada.parse(url).hostname.rstrip(".")
    assert "." in host or ":" in host
    plain = (urlsplit(url).hostname or "").rstrip(".")
    assert httpx.URL(url).raw_host.decode().rstrip(".") in {host, host.strip("[]")}
    assert (URL(url).raw_host or "").rstrip(".") in {host, host.strip("[]")}
    if plain.isascii():
        assert plain in {host, host.strip("[]")}


@pytest.mark.parametrize(
    "text",
    [
        "http://a",
        "HTTP://a",
        "  http://a",
        "\x00http://a",
        "ht\ntp://a",
        "https:a",
        "//a/b",
        "\\\\a\\b",
        "www.a.b",
        "file:/etc/passwd",
        "gs://a/b",
        "s3://a/b",
        "data:text/plain,a",
        "x-anything+1.0://a",
        "javascript:alert(1)",
    ],
    ids=ascii,
)
def test_a_text_that_could_be_fetched_is_recognized(text: str) -> None:
    assert looks_like_address(text)


@pytest.mark.parametrize(
    "text", ["", "file-abc", "UklGRg==", "a: b", "wiki:cats", "auto", "12:30", "C:", "/a/b", "// a comment", "///"]
)
def test_ordinary_texts_are_not_recognized_as_addresses(text: str) -> None:
    assert not looks_like_address(text)
