"""Tool calls that come in pieces: which call each piece belongs to.

Upstreams number calls by ``index``, name them by ``id``, or do neither well: two calls under one index, ids that are
empty or come late, a whole call sent twice. One mechanism tells them apart, so that whoever joins pieces by the index
that it gives joins what belongs together.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clients.decode import UNREADABLE

_MAX_INDEX = 1000
_MAX_KEPT = 64 * 1024
"""How many characters of a call's arguments are kept to recognise a call that is sent again."""
_RAW = msgspec.json.Decoder(msgspec.Raw)


class CallPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a call. ``None`` is what it does not tell; an empty id or name is never a value."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class _Call:
    """A call as far as it is known. ``index`` is the upstream's, ``number`` the one that it is given here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.index: int | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.arguments = ""

    def is_over_before(self, piece: CallPiece) -> bool:
        """Whether a piece without this call's id begins another call: it has another name, or follows a whole call."""
        if piece.name is None or self.name is None:
            return False
        more = piece.arguments.strip() not in {"", self.arguments}
        return piece.name != self.name or (more and self._is_whole())

    def is_its_own(self, piece: CallPiece) -> bool:
        """Whether a piece with another id continues this call: some upstreams give each piece an id of its own."""
        if piece.name is not None or piece.index is None or piece.index != self.index or not piece.arguments:
            return False
        return not piece.arguments.strip() or not self._is_whole()

    def has_twin(self, piece: CallPiece) -> bool:
        """Whether a piece with this call's id begins another call: some upstreams use a function's name as the id."""
        if piece.name is None or not self._is_whole():
            return False
        return piece.name != self.name or piece.arguments.strip() not in {"", self.arguments}

    def is_sent_again(self, piece: CallPiece) -> bool:
        """Whether a piece is all of the call once more."""
        return piece.name == self.name and piece.arguments == self.arguments and self._is_whole()

    def _is_whole(self) -> bool:
        """Whether the arguments are a JSON object, so that nothing can follow."""
        if not (self.arguments.startswith("{") and self.arguments.endswith("}") and len(self.arguments) <= _MAX_KEPT):
            return False
        try:
            _RAW.decode(self.arguments)
        except UNREADABLE:
            return False
        return True

    def learn(self, piece: CallPiece) -> CallPiece:
        """Take a piece in; give what is new in it."""
        told = CallPiece(
            index=self.number,
            id=piece.id if self.id is None else None,
            name=piece.name if self.name is None else None,
            arguments=piece.arguments,
        )
        self.id, self.name = self.id or piece.id, self.name or piece.name
        self.index = piece.index if piece.index is not None else self.index
        if len(self.arguments) <= _MAX_KEPT:
            self.arguments += piece.arguments
        return told


class CallNumbers:
    """Numbers the calls of one answer."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._next = 0
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None

    def numbered(self, pieces: Sequence[CallPiece]) -> list[CallPiece]:
        """The pieces of one chunk, each with its call's number as ``index``, and only what is new in it.

        An id belongs to one call, unless a whole one is followed by another under it; a new id begins one, unless the
        call at its index has none yet, or is not whole and the piece has no name. Without an id the
        index tells the call, without an index it is the last one, or the one at the same place in the chunk where there
        are several. The upstream's index is kept as the number where no other call has it.
        """
        if len(pieces) > 1 and all(piece.index is None for piece in pieces):
            pieces = [msgspec.structs.replace(piece, index=place) for place, piece in enumerate(pieces)]
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
            told = call.learn(piece)
            self._note(call)
            if told.id is not None or told.name is not None or told.arguments:
                found.append(told)
        return found

    def _known(self, piece: CallPiece) -> _Call | None:
        if piece.id is not None and piece.id in self._by_id:
            placed = None if piece.index is None else self._by_index.get(piece.index)
            known = placed if placed is not None and placed.id == piece.id else self._by_id[piece.id]
            return None if known.has_twin(piece) else known
        call = self._at(piece.index)
        if call is None or call.is_over_before(piece):
            return None
        if piece.id is not None and call.id is not None and not call.is_its_own(piece):
            return None
        return call

    def _at(self, index: int | None) -> _Call | None:
        """The call at an index; one that has told no index so far is continued by the first index that comes."""
        if index is not None and index in self._by_index:
            return self._by_index[index]
        unplaced = self._last is not None and self._last.index is None
        return self._last if index is None or unplaced else None

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
