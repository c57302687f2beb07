"""Recognises which program answers at a URL."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec

from app.doctor.installation import Server
from clients.ams.health import HEALTH_PATH as AMS_PATH
from clients.calls import Answer
from clients.decode import UNREADABLE, display_name
from clients.errors import Service
from clients.letta.app_server import APP_SERVER, CURE, INFO_PATH, described
from clients.letta.app_server import HEALTH_PATH as LETTA_PATH
from clients.litellm import ALIVE_PATH
from clients.site import NoAnswer
from clients.supabase import JWKS_PATH

_JSON = msgspec.json.Decoder()
_GATEWAY = frozenset({"ready", "draining", "starting"})
_NOT_FOUND = 404
_DIGITS = 9


def body_of(answer: Answer) -> Any:
    """Decode an answer's JSON. Return ``None`` for any other body."""
    try:
        return _JSON.decode(answer.body)
    except UNREADABLE:
        return None


def numbers_in(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, or none if a number is too long to be a version's."""
    numbers = re.findall(r"\d+", version)[:3]
    return () if any(len(one) > _DIGITS for one in numbers) else tuple(map(int, numbers))


def _is_letta(answer: Answer) -> bool:
    body = body_of(answer)
    return answer.status == 200 and isinstance(body, dict) and body.keys() == {"status", "version"}


def _is_litellm(answer: Answer) -> bool:
    body = body_of(answer)
    return answer.status == 200 and isinstance(body, str) and "alive" in body


def _is_ams(answer: Answer) -> bool:
    body = body_of(answer)
    return isinstance(body, dict) and isinstance(body.get("checks"), dict)


def _is_supabase(answer: Answer) -> bool:
    body = body_of(answer)
    return answer.status == 200 and isinstance(body, dict) and isinstance(body.get("keys"), list)


def is_gateway(answer: Answer) -> bool:
    """Return whether an answer to ``/readyz`` comes from a gateway."""
    body = body_of(answer)
    return isinstance(body, dict) and body.keys() == {"status"} and body["status"] in _GATEWAY


SIGNS: dict[Service, tuple[str, Callable[[Answer], bool]]] = {
    Service.AMS: (AMS_PATH, _is_ams),
    Service.LETTA: (LETTA_PATH, _is_letta),
    Service.LITELLM: (ALIVE_PATH, _is_litellm),
    Service.SUPABASE: (JWKS_PATH, _is_supabase),
}
"""For each service, the path that needs no key, and whether the answer is the service's."""

_OTHERS: list[tuple[str, str, Callable[[Answer], bool]]] = [
    ("this gateway", "/readyz", is_gateway),
    ("Ollama", "/", lambda answer: b"Ollama is running" in answer.body),
    (
        "an OpenAI-compatible server without LiteLLM's other paths",
        "/v1/models",
        lambda answer: answer.status == 200 and isinstance(body_of(answer), dict) and "data" in body_of(answer),
    ),
]


async def program_at(server: Server) -> str | None:
    """Return the name of the program at a server's URL, or ``None`` if no known program answers."""
    signs = [(display_name(service), path, sign) for service, (path, sign) in SIGNS.items()] + _OTHERS
    answers = await asyncio.gather(*(_answer(server, path) for _, path, _ in signs))
    for (name, _, sign), answer in zip(signs, answers, strict=True):
        if answer is not None and sign(answer):
            return name
    health, info = await asyncio.gather(_answer(server, LETTA_PATH), _answer(server, INFO_PATH))
    if health is not None and info is not None and health.status == _NOT_FOUND:
        text = described(health, info).message
        if text.endswith(CURE):
            return APP_SERVER if "probably" not in text else f"probably {APP_SERVER}"
    return None


async def _answer(server: Server, path: str) -> Answer | None:
    try:
        return await server.answer(path)
    except NoAnswer:
        return None
