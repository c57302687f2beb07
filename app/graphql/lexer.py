"""Reads the tokens of GraphQL documents with regular expressions.

graphql-core's lexer reads one character at a time, and takes 80 to 500 ms for 1 MB of spaces or for a comment of 1 MB.
This lexer raises the same errors.
"""

from __future__ import annotations

import re
from json import JSONDecoder

from graphql import DocumentNode, GraphQLSyntaxError, Lexer, Source, Token, TokenKind
from graphql.language.block_string import dedent_block_string_lines
from graphql.language.lexer import is_punctuator_token_kind
from graphql.language.parser import Parser

MAX_CHARS = 250_000
"""Maximum number of characters in a document. Long texts belong in variables."""

MAX_LINES = 5_000
"""Maximum number of lines in a document. More lines slow down error messages and block strings."""

MAX_WORD = 200
"""Maximum number of characters in a name or number. Long names and numbers are slow to process."""

MAX_BRACED_ESCAPES = 5_000
r"""Maximum number of ``\u{…}`` escapes in a document. graphql-core decodes these escapes slowly."""

_JSON = JSONDecoder(strict=False)
_NEWLINE = re.compile(r"\r\n|[\n\r]")
_DIGITS = re.compile(r"[0-9]*+")
_COMMENT = re.compile(r"[^\n\r\ud800-\udfff]*+")
_NEXT = re.compile(
    r"""[ \t,\ufeff]*+([\n\r][ \t,\ufeff\n\r]*+)?+(?:([_A-Za-z][_0-9A-Za-z]*+)|([!$&():=@\[\]{|}]|\.\.\.)"""
    r"""|(-?(?:0|[1-9][0-9]*+)(?![.0-9A-Z_a-z]))|"(?!"")([^"\\\n\r\ud800-\udfff]*+)")?"""
)
_TEXT = re.compile(
    r"""(?:[^"\\\n\r\ud800-\udfff]++|\\(?:["\\/bfnrt]|u(?:[0-9A-Ca-cE-Fe-f][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}"""
    r"""|[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))*+"""
)
"""Matches a string's prefix that JSON and GraphQL decode to the same text."""
_BLOCK = re.compile(r"""(?:[^"\\\ud800-\udfff]++|"(?!"")|\\""\"|\\)*+""")

_NAME, _PUNCTUATOR, _INT, _STRING = 2, 3, 4, 5
_KINDS = {_NAME: TokenKind.NAME, _INT: TokenKind.INT, _STRING: TokenKind.STRING}
"""The kind of token for each group of the pattern ``_NEXT``."""
_PUNCTUATORS = {kind.value: kind for kind in TokenKind if is_punctuator_token_kind(kind)}
_LONG_WORD = f"{MAX_WORD} characters in a name or a number"


class DocumentTooLargeError(Exception):
    """The error for a document that exceeds a size limit."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The document has more than {what}. Shorten the document.")


def parse_document(text: str, *, max_tokens: int) -> DocumentNode:
    """Parse a GraphQL document as ``graphql.parse`` does, but in linear time.

    Raises:
        DocumentTooLargeError: the document exceeds a bound.
        GraphQLSyntaxError: the document is not GraphQL.
        RecursionError: the document is nested too deeply.
    """
    if len(text) > MAX_CHARS:
        raise DocumentTooLargeError(f"{MAX_CHARS} characters")
    if text.count("\n") + text.count("\r") - text.count("\r\n") >= MAX_LINES:
        raise DocumentTooLargeError(f"{MAX_LINES} lines")
    if text.count("\\u{") > MAX_BRACED_ESCAPES:
        raise DocumentTooLargeError(rf"{MAX_BRACED_ESCAPES} escapes of the form \u{{…}}")
    source = Source(text)
    parser = Parser(source, max_tokens=max_tokens, lexer=QuickLexer(source))
    try:
        return parser.parse_document()
    except GraphQLSyntaxError as error:
        if error.message.endswith("Parsing aborted."):
            raise DocumentTooLargeError(f"{max_tokens} tokens") from None
        raise


class QuickLexer(Lexer):
    """Returns the same tokens as graphql-core's lexer, but faster."""

    def read_next_token(self, start: int) -> Token:
        """Return the first token at or after the position ``start``."""
        found = _NEXT.match(self.source.body, start)
        if found is None:  # pragma: no cover - the pattern matches the empty text
            return super().read_next_token(start)
        if (lines := found[1]) is not None:
            self.line += lines.count("\n") + lines.count("\r") - lines.count("\r\n")
            self.line_start = found.start(1) + max(lines.rfind("\n"), lines.rfind("\r")) + 1
        group, end = found.lastindex, found.end()
        if group is None or group == 1:
            self._no_bare_fraction(end)
            return super().read_next_token(end)
        start, value = found.start(group), found[group]
        if group == _PUNCTUATOR:
            return Token(_PUNCTUATORS[value], start, end, self.line, 1 + start - self.line_start)
        if group == _STRING:
            start -= 1
        elif end - start > MAX_WORD:
            raise DocumentTooLargeError(_LONG_WORD)
        return Token(_KINDS[group], start, end, self.line, 1 + start - self.line_start, value)

    def advance(self) -> Token:
        """Move to the next token that is not a comment."""
        last = self.last_token = self.token
        if last.next is None and last.kind is not TokenKind.EOF:
            token = self.read_next_token(last.end)
            last.next = token  # without ``prev``, tokens need no garbage collection
            if token.kind is not TokenKind.COMMENT:
                self.token = token
                return token
        self.token = self.lookahead()
        return self.token

    def _no_bare_fraction(self, position: int) -> None:
        digits = _DIGITS.match(self.source.body, position + 1) if self.source.body.startswith(".", position) else None
        if digits and digits[0]:
            message = f"Invalid number, expected digit before '.', did you mean '0.{digits[0]}'?"
            raise GraphQLSyntaxError(self.source, position, message)

    def _token(self, kind: TokenKind, start: int, end: int, value: str | None = None) -> Token:
        return Token(kind, start, end, self.line, 1 + start - self.line_start, value)

    def read_comment(self, start: int) -> Token:
        """Read a comment."""
        end = _end(_COMMENT, self.source.body, start + 1)
        return self._token(TokenKind.COMMENT, start, end, self.source.body[start + 1 : end])

    def read_number(self, start: int, first_char: str) -> Token:
        """Read a number."""
        token = super().read_number(start, first_char)
        if token.end - token.start > MAX_WORD:
            raise DocumentTooLargeError(_LONG_WORD)
        return token

    def read_digits(self, start: int, first_char: str) -> int:
        """Return the position after the digits that begin at ``start``."""
        end = _end(_DIGITS, self.source.body, start)
        return end if end > start else super().read_digits(start, first_char)

    def read_string(self, start: int) -> Token:
        """Read a string that is not a block string."""
        body, position, parts = self.source.body, start + 1, list[str]()
        while True:
            end = _end(_TEXT, body, position)
            if (closed := body.startswith('"', end)) or body.startswith("\\u{", end):
                parts.append(_unescaped(body, position, end))
            else:
                return self._invalid_string(start, end)
            if closed:
                return self._token(TokenKind.STRING, start, end + 1, "".join(parts))
            escape = self.read_escaped_unicode_variable_width(end)
            parts.append(escape.value)
            position = end + escape.size

    def _invalid_string(self, start: int, position: int) -> Token:
        """Raise graphql-core's error for a string that is invalid at ``position``."""
        if self.source.body.startswith("\\u", position):
            self.read_escaped_unicode_fixed_width(position)
        elif self.source.body.startswith("\\", position):
            self.read_escaped_character(position)
        elif position < len(self.source.body) and self.source.body[position] not in "\r\n":
            return super().read_string(start)
        raise GraphQLSyntaxError(self.source, position, "Unterminated string.")

    def read_block_string(self, start: int) -> Token:
        """Read a block string."""
        body = self.source.body
        end = _end(_BLOCK, body, start + 3)
        if not body.startswith('"""', end):
            if end < len(body):
                return super().read_block_string(start)
            raise GraphQLSyntaxError(self.source, end, "Unterminated string.")
        text = body[start + 3 : end]
        breaks = text.count("\n") + text.count("\r") - text.count("\r\n")
        lines = _NEWLINE.split(text.replace('\\"""', '"""'))
        token = self._token(TokenKind.BLOCK_STRING, start, end + 3, "\n".join(dedent_block_string_lines(lines)))
        if breaks:
            self.line += breaks
            self.line_start = start + 3 + max(text.rfind("\n"), text.rfind("\r")) + 1
        return token


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _unescaped(body: str, start: int, end: int) -> str:
    """Decode a part of a string in which every escape is valid in JSON."""
    text = body[start:end]
    return str(_JSON.decode(f'"{text}"')) if "\\" in text else text
