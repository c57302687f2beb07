"""The ids of responses. As in LiteLLM, an id is encrypted, and contains the provider's id, the model and the owner."""

from __future__ import annotations

import base64
import binascii
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.embedded.litellm.answers import Refused
from app.embedded.litellm.keys import hashed
from app.embedded.state import Json, State

_PREFIX = "resp_"
_NONCE_BYTES = 12
_LENGTH = 240
"""The length to which an id's contents are padded. LiteLLM's ids have about 350 characters, and so have these."""

_UNMANAGED = (
    "Forbidden. This response id was not issued by this proxy, so the proxy cannot tell who owns it. "
    "To let keys address responses this proxy did not issue, set "
    "general_settings::allow_unmanaged_response_ids to True in the config.yaml file."
)
_FOREIGN = (
    "Forbidden. The response id is not associated with the user, who this key belongs to. To disable this security "
    "feature, set general_settings::disable_responses_id_security to True in the config.yaml file."
)


class Issued(msgspec.Struct, frozen=True):
    """What an id contains: the provider's id of the response, LiteLLM's model, and the owner."""

    provider_id: str
    model: str
    owner: str


class ResponseIds:
    """Makes and reads the ids of responses. The encryption key is stored, so that ids stay valid after a restart."""

    def __init__(self, state: State) -> None:
        if "response_ids" not in state.marks:
            state.mark("response_ids", AESGCM.generate_key(128).hex())
        self._cipher = AESGCM(bytes.fromhex(state.marks["response_ids"]))

    def issue(self, provider_id: str, model: str, record: Json) -> str:
        """Make the id of a response that belongs to a key's user."""
        text = msgspec.json.encode(Issued(provider_id, model, owner_of(record))).ljust(_LENGTH)
        nonce = os.urandom(_NONCE_BYTES)
        return _PREFIX + base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, text, None)).decode()

    def read(self, response_id: str, record: Json) -> Issued:
        """Return what an id contains.

        Raises:
            Refused: the id was not made here, or another user owns the response.
        """
        try:
            sealed = base64.b64decode(response_id.removeprefix(_PREFIX), altchars=b"-_", validate=True)
            text = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise Refused(403, "permission_error", _UNMANAGED) from error
        issued = msgspec.json.decode(text, type=Issued)
        if issued.owner != owner_of(record):
            raise Refused(403, "permission_error", _FOREIGN)
        return issued


def owner_of(record: Json) -> str:
    """Return who owns a key's responses: the key's user, or the key if it has no user."""
    return record["info"]["user_id"] or hashed(record["key"])
