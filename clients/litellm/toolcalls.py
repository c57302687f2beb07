"""Numbers the tool calls in a streamed completion.

Providers identify calls by ``index`` or by ``id``, often wrongly. Two calls can have one index, ids can be empty or
late, and a call can be sent twice.
"""

from collections.abc import Sequence

import msgspec

from clients.decode import UNREADABLE

_MAX_INDEX = 1000
_MAX_KEPT = 64 * 1024
"""The maximum number of characters that are kept of a tool call's arguments, to deduplicate calls."""
_RAW = msgspec.json.Decoder(msgspec.Raw)


class CallPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a tool call. A missing or empty ``id`` or ``name`` is ``None``."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class _Call:
    def __init__(self, number: int) -> None:
        self.number = number
        self.index: int | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.arguments = ""

    def ends_before(self, piece: CallPiece) -> bool:
        """Return whether a piece without an id begins another tool call."""
        if piece.name is None or self.name is None:
            return False
        more = piece.arguments.strip() not in {"", self.arguments}
        return piece.name != self.name or (more and self._is_complete())

    def continues_with_new_id(self, piece: CallPiece) -> bool:
        """Return whether a piece with a new id continues this tool call. Some providers give each piece a new id."""
        if piece.name is not None or piece.index is None or piece.index != self.index or not piece.arguments:
            return False
        return not piece.arguments.strip() or not self._is_complete()

    def shares_id_with_next(self, piece: CallPiece) -> bool:
        """Return whether a piece with this tool call's id begins another tool call.

        Some providers use function names as ids.
        """
        if piece.name is None or not self._is_complete():
            return False
        return piece.name != self.name or piece.arguments.strip() not in {"", self.arguments}

    def is_repeated_by(self, piece: CallPiece) -> bool:
        return piece.name == self.name and piece.arguments == self.arguments and self._is_complete()

    def _is_complete(self) -> bool:
        """Return whether the arguments are a complete JSON object, after which no piece can follow."""
        if not (self.arguments.startswith("{") and self.arguments.endswith("}") and len(self.arguments) <= _MAX_KEPT):
            return False
        try:
            _RAW.decode(self.arguments)
        except UNREADABLE:
            return False
        return True

    def add(self, piece: CallPiece) -> CallPiece:
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
    """Numbers the tool calls of one completion."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._next = 0
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._last: _Call | None = None

    def numbered(self, pieces: Sequence[CallPiece]) -> list[CallPiece]:
        """Set the ``index`` of each piece of a tool call to the tool call's number.

        Repeated pieces are removed.

        - An id identifies a call. After the call is complete, another call with the same id can follow.
        - A new id begins a call, with two exceptions: the call at the piece's index has no id, or that call is
          incomplete and the piece has no name.
        - A piece without an id belongs to the call at its index.
        - A piece without an id or index belongs to the last call. If a chunk has several such pieces, each one belongs
          to the call at the piece's position.

        A call's number is the provider's index, unless another call has that number.
        """
        if len(pieces) > 1 and all(piece.index is None for piece in pieces):
            pieces = [msgspec.structs.replace(piece, index=position) for position, piece in enumerate(pieces)]
        found: list[CallPiece] = []
        begun: list[_Call] = []
        for piece in pieces:
            call = self._known(piece)
            if call is not None and call.is_repeated_by(piece):
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
            return None if known.shares_id_with_next(piece) else known
        call = self._at(piece.index)
        if call is None or call.ends_before(piece):
            return None
        if piece.id is not None and call.id is not None and not call.continues_with_new_id(piece):
            return None
        return call

    def _at(self, index: int | None) -> _Call | None:
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
