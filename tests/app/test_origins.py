from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.origins import parse
from app.settings import Settings, SettingsError

NO_PATTERNS = [
    *("*", "*.com", "*.com:8443", "*.", "*.*.a.example", "a.*.example", "*a.example", "pr-*.a.example"),
    *("*.0.0.1", "*.168.0.1:80", "**.a.example", "*..a.example"),
]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("localhost:3000", "Write http://localhost:3000"),
        ("https://a.example, app.example.com/", "Write https://app.example.com"),
        ("//a.example", "scheme"),
        ("https://a.example/app", "no path"),
        ("https://a.example?x", "no path"),
        ("https://ada:s3cret@a.example", "no path"),
        ("https://a.example https://b.example", "with commas"),
        ("https://a.example;https://b.example", "with commas"),
        ('["https://a.example"]', "with commas"),
        ("https://bücher.example", "not an origin"),
        *((f"https://a.example:{port}", "not an origin") for port in ("99999", "0", "", "0443", "08443", "x")),
        ("https://*.a.example:08443", "not an origin"),
        ("https://", "not an origin"),
        ("*.a.example", "Write https://*.a.example"),
        ("https://*.a.example/app", "no path"),
        ("https://*.a.example:*", "not an origin"),
        *((f"https://{host}", "scheme://*.host") for host in NO_PATTERNS),
        ("*://a.example", "not an origin"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(_env_file=None, allowed_origins=text)
    [problem] = caught.value.problems
    assert problem.startswith("ALLOWED_ORIGINS: ")
    assert cure in problem
    assert "s3cret" not in problem


def test_origins_are_compared_in_the_form_that_browsers_send() -> None:
    given = "HTTPS://App.Example:443/ , http://localhost:3000,http://x:80,http://[::1]:3000,capacitor://localhost,"
    origins = ("https://app.example", "http://localhost:3000", "http://x", "http://[::1]:3000", "capacitor://localhost")
    assert parse(given) == (origins, None)
    assert parse("*") == (("*",), None)
    assert parse("null") == (("null",), None), "of files and sandboxed frames"


MATCHES = {
    "https://*.example.com": ["https://a.example.com", "https://pr-1.example.com", "https://xn--bcher-kva.example.com"],
    "HTTPS://*.Example.com:443/": ["https://a.example.com"],
    "https://*.example.com:8443": ["https://a.example.com:8443"],
    "http://*.localhost:3000": ["http://a.localhost:3000"],
}
FOREIGN = [
    "https://example.com",
    "https://.example.com",
    "https://a.b.example.com",
    "https://evil-example.com",
    "https://evil.example.com.evil.org",
    "https://a.example.com.evil.org",
    "https://a.exampleXcom",
    "https://a.example.com.",
    "https://a.example.com:444",
    "https://a.example.com:443",
    "http://a.example.com",
    "https://evil.org/.example.com",
    "https://evil.org#.example.com",
    "https://evil.org?.example.com",
    "https://evil.org:80@a.example.com",
    "https://A.example.com",
    "https://a.example.com\n",
    "https://-a.example.com",
    f"https://{'a' * 64}.example.com",
    "null",
    "",
]


@pytest.mark.parametrize("pattern", MATCHES)
def test_a_pattern_allows_one_label(pattern: str) -> None:
    exact, found = parse(pattern)
    assert exact == ()
    for origin in MATCHES[pattern]:
        assert re.fullmatch(found or "", origin), origin
    for origin in FOREIGN:
        assert not re.fullmatch(found or "", origin), origin


@given(st.text(alphabet="ab.-:/@#?*\\_E", max_size=12))
def test_a_pattern_matches_only_hosts_below_its_own(text: str) -> None:
    _, found = parse("https://*.example.com,https://*.b.example")
    if re.fullmatch(found or "", f"https://{text}.example.com"):
        assert set(text) <= set("ab-_E") - {"E"}


def test_several_patterns_and_origins_are_alternatives() -> None:
    exact, found = parse("https://*.a.example,https://b.example,http://*.c.example:81")
    assert exact == ("https://b.example",)
    answers = {"https://x.a.example": True, "http://x.c.example:81": True, "https://x.b.example": False}
    for origin, allowed in answers.items():
        assert bool(re.fullmatch(found or "", origin)) is allowed
