from __future__ import annotations

import asyncio

import pytest

from app.doctor.findings import shown
from app.doctor.secrecy import Secrets, hide, hiding


@pytest.mark.parametrize(
    ("secret", "text", "hidden"),
    [
        ("pa55word", "apa55words", "a(hidden)s"),
        ("redis", "redis rediss redis_url redis.server", "(hidden) rediss redis_url (hidden).server"),
        ("1234", "port 41234, password 1234", "port 41234, password (hidden)"),
        ("word" * 3, "a" + "word" * 3, "a(hidden)"),
        ("p@ss", "u:p@ss@h u:p%40ss@h", "u:(hidden)@h u:(hidden)@h"),
        (".*.*", "text .*.*", "text (hidden)"),
        ("abc", "abc", "abc"),
    ],
)
def test_a_secret_is_hidden(secret: str, text: str, hidden: str) -> None:
    assert Secrets([secret]).hide(text) == hidden


def test_the_longest_secret_is_hidden_first() -> None:
    assert Secrets(["sk-1", "sk-1-and-more"]).hide("sk-1-and-more") == "(hidden)"


def test_a_text_is_shortened_after_its_secrets_are_hidden_also_in_tasks() -> None:
    async def run() -> str:
        with hiding(Secrets(["s3cret" * 20])):
            return await asyncio.create_task(text())

    async def text() -> str:
        return shown("x " + "s3cret" * 20)

    assert asyncio.run(run()) == "x (hidden)"
    assert hide("s3cret" * 20) == "s3cret" * 20
