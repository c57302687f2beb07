from __future__ import annotations

import pytest

from clients.errors import BadUserInput
from resolvers.images import MAX_DATA_URL, image, is_image

GOOD = [
    "https://example.com/a.png",
    "https://example.com:8443/a.png?x=1",
    "https://EXAMPLE.com./a",
    "https://8.8.8.8/a.png",
    "https://[2606:4700::1111]/a.png",
    "data:image/png;base64,aGVsbG8=",
    "data:image/webp;base64,aGVsbG8h",
]
BAD = [
    "",
    "cat.png",
    "//example.com/a.png",
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "https://",
    "https:///a.png",
    "https://example/a.png",
    "https://user:password@example.com/a.png",
    "https://user@example.com/a.png",
    "https://example.com:0/a.png",
    "https://example.com:nonsense/a.png",
    "https://example.com/a b.png",
    "https://example.com\\@127.0.0.1/a.png",
    "https://example.com/\n.png",
    "https://localhost/a.png",
    "https://a.localhost/a.png",
    "https://metadata.google.internal/a.png",
    "https://printer.local/a.png",
    "https://127.0.0.1/a.png",
    "https://127.1/a.png",
    "https://2130706433/a.png",
    "https://0x7f.0x1/a.png",
    "https://0177.0.0.01/a.png",
    "https://10.0.0.1/a.png",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/a.png",
    "https://[::ffff:127.0.0.1]/a.png",
    "https://[fd00::1]/a.png",
    "https://example.com/" + "a" * 2048,
    "data:image/png;base64,",
    "data:image/png;base64,@@@@",
    "data:image/png;base64,aGVsbG8",
    "data:image/png;base64,aGVsbG8=\n",
    "data:image/png,hello",
    "data:image/svg+xml;base64,aGVsbG8=",
    "data:text/html;base64,aGVsbG8=",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", GOOD)
def test_what_may_be_sent_on(url: str) -> None:
    assert image(url, None).openai() == {"type": "image_url", "image_url": {"url": url}}
    assert image(url, "low").openai()["image_url"]["detail"] == "low"


@pytest.mark.parametrize("url", BAD, ids=lambda url: url[:60])
def test_what_may_not(url: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        image(url, None)
    assert refused.value.reason == "IMAGE"


def test_bytes_go_to_letta_as_such_and_addresses_as_addresses() -> None:
    assert image("data:image/png;base64,aGVsbG8=", "high").letta() == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8=", "detail": "high"},
    }
    assert image("https://example.com/a.png", "high").letta() == {
        "type": "image",
        "source": {"type": "url", "url": "https://example.com/a.png"},
    }


@pytest.mark.bound("image-data")
def test_the_longest_data_url() -> None:
    start = "data:image/png;base64,"
    longest = start + "A" * ((MAX_DATA_URL - len(start)) // 4 * 4)
    assert image(longest, None).media_type == "image/png"
    assert is_image(longest)
    longer = longest + "AAAA"
    assert not is_image(longer)
    with pytest.raises(BadUserInput):
        image(longer, None)
