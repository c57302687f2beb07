from __future__ import annotations

import pytest

from clients.errors import BadUserInput
from resolvers.images import MAX_DATA_URL, image, is_image

GOOD = ["https://example.com:8443/a.png?x=1", "data:image/png;base64,aGVsbG8=", "data:image/webp;base64,aGVsbG8h"]
BAD = [
    "",
    "cat.png",
    "http://example.com/a.png",
    "file:///etc/passwd",
    "https://user@example.com/a.png",
    "https://metadata.google.internal/a.png",
    "https://127.1/a.png",
    "data:image/png;base64,",
    "data:image/png;base64,@@@@",
    "data:image/png;base64,aGVsbG8",
    "data:image/png;base64,aGVsbG8=\n",
    "data:image/png,hello",
    "data:image/svg+xml;base64,aGVsbG8=",
    "data:text/html;base64,aGVsbG8=",
    "javascript:alert(1)",
]
"""``test_public_urls`` has all kinds of addresses."""


@pytest.mark.parametrize("url", GOOD)
def test_a_valid_image_is_sent_as_it_is(url: str) -> None:
    assert image(url, None).openai() == {"type": "image_url", "image_url": {"url": url}}
    assert image(url, "low").openai()["image_url"]["detail"] == "low"


@pytest.mark.parametrize("url", BAD)
def test_an_invalid_image_is_refused(url: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        image(url, None)
    assert refused.value.reason == "IMAGE"


def test_letta_gets_the_bytes_of_a_data_url_and_other_urls_as_urls() -> None:
    assert image("data:image/png;base64,aGVsbG8=", "high").letta() == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8=", "detail": "high"},
    }
    assert image("https://example.com/a.png", "high").letta() == {
        "type": "image",
        "source": {"type": "url", "url": "https://example.com/a.png"},
    }


@pytest.mark.bound("image-data")
def test_a_data_url_past_the_bound_is_refused() -> None:
    start = "data:image/png;base64,"
    longest = start + "A" * ((MAX_DATA_URL - len(start)) // 4 * 4)
    assert image(longest, None).media_type == "image/png"
    assert is_image(longest)
    longer = longest + "AAAA"
    assert not is_image(longer)
    with pytest.raises(BadUserInput):
        image(longer, None)
