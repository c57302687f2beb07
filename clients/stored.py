"""Encodes records for the cache, and decodes them."""

import hashlib
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from clients.decode import UNREADABLE

V = TypeVar("V")


class Unreadable(Exception):
    """A cached value that cannot be decoded."""


class Stored(Generic[V]):
    """Encodes the values of one type.

    ``types`` are the value's types; by default, the type alone. ``shape`` is a digest of these types. If a release
    changes a type, the digest changes, so that no release decodes another release's values.
    """

    def __init__(self, kind: Any, *, types: tuple[Any, ...] = ()) -> None:
        self._kind = kind
        self._types = types or (kind,)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[V]:
        return msgspec.json.Decoder(self._kind)

    @cached_property
    def shape(self) -> str:
        """The digest of the types."""
        schemas = msgspec.json.schema_components(self._types, schema_hook=_named)
        encoded = msgspec.json.encode((msgspec.__version__, schemas), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:12]

    def encoded(self, value: V) -> bytes:
        """Encode a value."""
        return msgspec.json.encode(value)

    def decoded(self, data: bytes) -> V:
        """Decode a value. Raises Unreadable."""
        try:
            return self._decoder.decode(data)
        except UNREADABLE as error:
            raise Unreadable from error

    def can_share(self, value: V) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether several readers can have the value, because nothing can change it. By default, they cannot."""
        return False

    def shared(self, value: V, size: int) -> V:  # noqa: ARG002 - for subclasses
        """Return what all readers of a shareable value get. ``size`` is the encoded value's size, in bytes."""
        return value


def _named(kind: type) -> dict[str, str]:
    return {"title": kind.__name__}
