"""Checks LiteLLM's HTTP responses for errors."""

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
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MODEL = msgspec.json.Decoder(_Model)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_BOM = b"\xef\xbb\xbf"


def model_of(body: bytes) -> str:
    """Return the model's name from a request body. Returns an empty string if the body has no name."""
    try:
        model = _REQUEST.decode(body).model
    except UNREADABLE:
        return ""
    return model if isinstance(model, str) else ""


def model_failed(answer: Answer) -> bool:
    """Return whether a 5xx response reports a failure of one model.

    Other 5xx responses report a failure of LiteLLM. A model's failure has LiteLLM's error envelope, or
    ``llm_provider-*`` headers of the model's provider.
    """
    if any(name.startswith("llm_provider-") for name in answer.headers):
        return True
    try:
        _ENVELOPE.decode(answer.body)
    except UNREADABLE:
        return False
    return True


def checked(read: Callable[[bytes], object]) -> Callable[[Answer], Answer]:
    """Return a function that checks whether a 2xx answer can be read.

    For an error envelope, the function replaces the answer's status with the error's status.
    """

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
    """Read each model's id and JSON bytes from LiteLLM's list of models."""
    return [(_MODEL.decode(raw).id, bytes(raw)) for raw in _LISTED.decode(body).data]


def with_models(body: bytes, more: bytes) -> bytes:
    """Add models to the end of LiteLLM's list. ``more`` are JSON objects that commas separate."""
    listed = _FIELDS.decode(with_whole_pairs(body))
    models = bytes(listed["data"]).strip().removesuffix(b"]")
    comma = b"," if len(models.strip()) > 1 else b""
    return msgspec.json.encode({**listed, "data": msgspec.Raw(b"%b%b%b]" % (models, comma, more))})


WHOLE = checked(_WHOLE.decode)
"""Checks that a response is a chat completion: an object with ``choices``."""

VECTORS = checked(_VECTORS.decode)
"""Checks that a response contains embeddings: an object with ``data``."""

MODELS = checked(models_of)
"""Checks that a response is a list of models. The response is an object whose ``data`` lists models with ids."""

NO_STREAM = checked(_no_stream)
"""Checks a response that should be a stream, but is not. Only an error envelope is readable."""
