"""The ids of responses, which prove their owner.

LiteLLM lets users who share a key read and continue each other's responses. An id from the gateway therefore has a
signature (decision 0088).
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NewType

import msgspec

from clients.codes import Reason
from clients.errors import NotFound

OwnedId = NewType("OwnedId", str)
"""LiteLLM's id of a response that belongs to the signed-in user."""

MAX_ID = 4096
"""The maximum number of characters of an id. LiteLLM's ids have about 350."""

_SIGNATURE_BYTES = 18


class OwnedResponse(msgspec.Struct, frozen=True):
    """A response of the signed-in user. ``model`` is the model that the user requested."""

    id: OwnedId
    model: str


class ResponseIds:
    """Signs and verifies the ids of one user's responses.

    An id consists of LiteLLM's id, the model and the signature, with dots between them. The LiteLLM key that pays for
    the user's calls is the secret. A new key invalidates the ids, as in LiteLLM.
    """

    def __init__(self, user_id: str, key: str) -> None:
        self._secret = hmac.digest(key.encode(), f"response-id:v1:{user_id}".encode(), "sha256")
        self._sealed = ("", "", "")

    def sealed(self, response_id: str, model: str) -> str:
        """Return the client's id of a response. ``response_id`` is LiteLLM's id."""
        if self._sealed[:2] != (response_id, model):  # the events of a stream repeat the id
            named = f"{response_id}.{_encoded(model.encode())}"
            self._sealed = response_id, model, f"{named}.{self._signature(named)}"
        return self._sealed[2]

    def opened(self, sealed: str) -> OwnedResponse:
        """Verify a client's id. Raises NotFound (``RESPONSE_NOT_FOUND``) if ``sealed`` has not made the id."""
        named, _, signature = sealed.rpartition(".")
        response_id, _, model = named.rpartition(".")
        is_valid = len(sealed) <= MAX_ID and sealed.isascii()
        if not is_valid or not hmac.compare_digest(signature, self._signature(named)):
            raise not_found()
        return OwnedResponse(OwnedId(response_id), urlsafe_b64decode(model + "=" * (-len(model) % 4)).decode())

    def _signature(self, named: str) -> str:
        return _encoded(hmac.new(self._secret, named.encode(), hashlib.sha256).digest()[:_SIGNATURE_BYTES])


def not_found() -> NotFound:
    """Return the error for a response that does not exist, or belongs to another user."""
    return NotFound("The response does not exist. Check the id.", reason=Reason.RESPONSE_NOT_FOUND)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
