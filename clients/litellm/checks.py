"""Checks of LiteLLM's answers, and of its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from clients.calls import Answer
from clients.decode import UNREADABLE, undecodable
from clients.errors import Service
from clients.litellm.fields import Listed, with_whole_pairs
from clients.litellm.refusals import error_in


class _Error(msgspec.Struct):
    message: str


class _Envelope(msgspec.Struct):
    error: _Error


class _Request(msgspec.Struct):
    model: Any = None


class _Whole(msgspec.Struct):
    choices: list[dict[str, msgspec.Raw]]


class _Vectors(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]]


class _Model(msgspec.Struct):
    id: str


_REQUEST = msgspec.json.Decoder(_Request)
_WHOLE = msgspec.json.Decoder(_Whole)
_VECTORS = msgspec.json.Decoder(_Vectors)
_LISTED = msgspec.json.Decoder(Listed[msgspec.Raw])
_MODEL = msgspec.json.Decoder(_Model)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BOM = b"\xef\xbb\xbf"


def model_of(body: bytes) -> str:
    """The model in a request, or empty."""
    try:
        model = _REQUEST.decode(body).model
    except UNREADABLE:
        return ""
    return model if isinstance(model, str) else ""


def model_failed(answer: Answer) -> bool:
    """Whether a 5xx reports the failure of a model: LiteLLM itself, and its other models, can be well.

    LiteLLM reports it in its error envelope. ``llm_provider-*`` headers come from the model's provider.
    """
    if any(name.startswith("llm_provider-") for name in answer.headers):
        return True
    try:
        _ENVELOPE.decode(answer.body)
    except UNREADABLE:
        return False
    return True


def _checked(read: Callable[[bytes], object]) -> Callable[[Answer], Answer]:
    """A check that an answer with a 2xx status can be read. An error envelope becomes an answer with its status."""

    def check(answer: Answer) -> Answer:
        answer = msgspec.structs.replace(answer, body=answer.body.removeprefix(_BOM))
        error = error_in(answer.body) if b'"error"' in answer.body else None
        if error is not None:
            return msgspec.structs.replace(answer, status=error.status or 500)
        try:
            str(answer.body, "utf-8")  # the decoder does not check the fields that it skips
            read(with_whole_pairs(answer.body))
        except UNREADABLE as unreadable:
            raise undecodable(Service.LITELLM) from unreadable
        return answer

    return check


def _no_stream(_: bytes) -> object:
    raise msgspec.DecodeError("not a stream of events")


def models_of(body: bytes) -> list[tuple[str, bytes]]:
    """The models of OpenAI's list: the id and the bytes of each."""
    return [(_MODEL.decode(raw).id, bytes(raw)) for raw in _LISTED.decode(body).data]


WHOLE = _checked(_WHOLE.decode)
"""A chat completion: an object with ``choices``."""

VECTORS = _checked(_VECTORS.decode)
"""Embeddings: an object with ``data``."""

MODELS = _checked(models_of)
"""A list of models: an object whose ``data`` have ids."""

NO_STREAM = _checked(_no_stream)
"""An answer that is not the requested stream: an error envelope, or unreadable."""
