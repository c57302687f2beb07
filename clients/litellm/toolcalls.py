"""Assigns pieces of tool calls to calls.

Providers identify calls by ``index`` or by ``id``, often wrongly: two calls have one index, ids are empty or late, or
a call is sent twice. Here every call of an answer gets its own number, which its pieces have.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clients.decode import UNREADABLE

_MAX_INDEX = 1000
_MAX_KEPT = 64 * 1024
"""The characters of a call's arguments that are kept to recognise a call that is sent again."""
_RAW = msgspec.json.Decoder(msgspec.Raw)


class CallPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a call. Fields that it does not have are ``None``; an id or a name is never empty."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class _Call:
    """A call. ``index`` is the provider's, ``number`` the one that is assigned here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.index: int | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.arguments = ""

    def is_complete_before(self, piece: CallPiece) -> bool:
        """Whether a piece without this call's id begins another call: it has another name, or this call is complete."""
        if piece.name is None or self.name is None:
            return False
        more = piece.arguments.strip() not in {"", self.arguments}
        return piece.name != self.name or (more and self._is_complete())

    def has_other_id_of(self, piece: CallPiece) -> bool:
        """Whether a piece with another id continues this call: some providers give each piece its own id."""
        if piece.name is not None or piece.index is None or piece.index != self.index or not piece.arguments:
            return False
        return not piece.arguments.strip() or not self._is_complete()

    def has_twin(self, piece: CallPiece) -> bool:
        """Whether another call begins with the same id: some providers use the function's name as the id."""
        if piece.name is None or not self._is_complete():
            return False
        return piece.name != self.name or piece.arguments.strip() not in {"", self.arguments}

    def is_sent_again(self, piece: CallPiece) -> bool:
        """Whether a piece repeats the whole call."""
        return piece.name == self.name and piece.arguments == self.arguments and self._is_complete()

    def _is_complete(self) -> bool:
        """Whether the arguments are a JSON object, so that no piece can follow."""
        if not (self.arguments.startswith("{") and self.arguments.endswith("}") and len(self.arguments) <= _MAX_KEPT):
            return False
        try:
            _RAW.decode(self.arguments)
        except UNREADABLE:
            return False
        return True

    def add(self, piece: CallPiece) -> CallPiece:
        """Add a piece. Returns the part of it that is new."""
        new = CallPiece(
            index=self.number,
            id=piece.id if self.id is None else None,
            name=piece.name if self.name is None else None,
            arguments=piece.arguments,
        )
        self.id, self.name = self.id or piece.id, self.name or piece.name
        self.index = piece.index if piece.index is not None else self.index
        if len(self.arguments) <= _MAX_KEPT:
            self.arguments += piece.arguments
        return new


class CallNumbers:
    """Numbers the calls of one answer."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._next = 0
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None

    def numbered(self, pieces: Sequence[CallPiece]) -> list[CallPiece]:
        """The new parts of a chunk's pieces, each with its call's number as ``index``.

        - An id identifies a call. If that call is complete, another one with the same id can follow.
        - A new id begins a call, unless the call at its index has no id, or is incomplete and the piece has no name.
        - Without an id, the index identifies the call.
        - Without both, the piece is of the last call or, if the chunk has several pieces, of the call at its position.

        A call's number is the provider's index, unless another call has it.
        """
        if len(pieces) > 1 and all(piece.index is None for piece in pieces):
            pieces = [msgspec.structs.replace(piece, index=position) for position, piece in enumerate(pieces)]
        found: list[CallPiece] = []
        begun: list[_Call] = []
        for piece in pieces:
            call = self._known(piece)
            if call is not None and call.is_sent_again(piece):
                if piece.id is not None or call not in begun:
                    continue
                call = None
            if call is None:
                call = self._begin(piece)
                begun.append(call)
            new = call.add(piece)
            self._note(call)
            if new.id is not None or new.name is not None or new.arguments:
                found.append(new)
        return found

    def _known(self, piece: CallPiece) -> _Call | None:
        if piece.id is not None and piece.id in self._by_id:
            indexed = None if piece.index is None else self._by_index.get(piece.index)
            known = indexed if indexed is not None and indexed.id == piece.id else self._by_id[piece.id]
            return None if known.has_twin(piece) else known
        call = self._at(piece.index)
        if call is None or call.is_complete_before(piece):
            return None
        if piece.id is not None and call.id is not None and not call.has_other_id_of(piece):
            return None
        return call

    def _at(self, index: int | None) -> _Call | None:
        """The call at an index. The last call, if it has no index yet, has the first index that is sent."""
        if index is not None and index in self._by_index:
            return self._by_index[index]
        has_no_index = self._last is not None and self._last.index is None
        return self._last if index is None or has_no_index else None

    def _begin(self, piece: CallPiece) -> _Call:
        index = piece.index
        free = index is not None and index < _MAX_INDEX and index not in self._numbers
        number = index if index is not None and free else self._next
        self._numbers.add(number)
        self._next = max(self._next, number + 1)
        return _Call(number)

    def _note(self, call: _Call) -> None:
        self._last = call
        if call.id is not None:
            self._by_id[call.id] = call
        if call.index is not None:
            self._by_index[call.index] = call
