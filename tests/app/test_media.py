from __future__ import annotations

import pytest

from app.graphql.media import EVENT_STREAM, MULTIPART, PLAIN_JSON, RESPONSE_JSON, accepted


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, [PLAIN_JSON]),
        ("", [PLAIN_JSON]),
        ("*/*", [PLAIN_JSON]),
        ("application/*", [RESPONSE_JSON, PLAIN_JSON]),
        ("application/json", [PLAIN_JSON]),
        ("text/event-stream;q=0, application/json", [PLAIN_JSON]),
        ("application/json;q=0.5, text/event-stream", [EVENT_STREAM, PLAIN_JSON]),
        ("application/json; q=nonsense, text/event-stream", [EVENT_STREAM]),
        ("TEXT/Event-Stream", [EVENT_STREAM]),
        ("multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json", [MULTIPART, PLAIN_JSON]),
        ('multipart/mixed; subscriptionSpec="1.0"', [MULTIPART]),
        ("multipart/mixed;deferSpec=20220824, application/json", [PLAIN_JSON]),
        ("multipart/mixed;subscriptionSpec=2.0", []),
        ("text/event-stream, multipart/mixed", [EVENT_STREAM, MULTIPART]),
        ("text/html", []),
        (", ;q=1,", []),
    ],
)
def test_accepted_media_types_are_sorted_by_preference(header: str | None, expected: list[str]) -> None:
    assert accepted(header) == expected
