"""Caches parsed and validated GraphQL documents. The cache's keys are the documents' texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
)

from app.graphql.errors import RequestError, extensions, request_error, shaped
from app.graphql.lexer import DocumentTooLargeError, parse_document
from app.graphql.merging import TooManyError, conflicts
from app.graphql.nul import nul_in_document
from app.graphql.plan.plans import Plans
from app.graphql.shape import excess, fragments_of
from app.graphql.validation import invalid
from clients.bounded import Lru
from clients.codes import ErrorCode, Reason
from schema.guards import public_fields

_CACHE_BYTES = 32 * 2**20
_MAX_CACHED_BYTES = 2 * 2**20
"""Maximum memory of one cached document, in bytes. Larger documents are not cached."""

_TOKEN_BYTES, _ERROR_BYTES = 600, 1_500
"""The memory of a cached document for each token, and of a refused document for each error, in bytes."""

_MAX_MESSAGE = 500


class Operation:
    """An operation in a valid GraphQL document.

    Attributes:
        is_public: whether a client may send the operation without a token, whatever its variables.
        plans: the operation's plans.
    """

    def __init__(self, document: DocumentNode, node: OperationDefinitionNode, public: frozenset[str]) -> None:
        self.document = document
        self.node = node
        self.name = node.name.value if node.name else None
        self.plans = Plans(document, node)
        self.is_public = node.operation is OperationType.QUERY and public.issuperset(root_fields(document, node))

    @property
    def kind(self) -> OperationType:
        """Return the operation's type: query, mutation or subscription."""
        return self.node.operation


class _Refusal(NamedTuple):
    """The errors of a refused document. Cached exceptions would keep their traceback's frames in memory."""

    code: ErrorCode
    errors: list[dict[str, Any]]


class Documents:
    """Parses, validates and caches GraphQL documents.

    A document's limits are checked before any step that takes more than linear time.
    """

    def __init__(self, schema: GraphQLSchema, *, max_tokens: int, max_depth: int) -> None:
        self._schema = schema
        self._public = public_fields(schema)
        self._max_tokens = max_tokens
        self._max_depth = max_depth
        self._cache: Lru[str, list[Operation] | _Refusal] = Lru(_CACHE_BYTES)

    @property
    def cached_bytes(self) -> int:
        """Return how many bytes of memory the cached documents take."""
        return self._cache.weight

    def operation(self, source: str, name: str | None) -> Operation:
        """Return the document's operation called ``name``, or the only operation if ``name`` is ``None``.

        Raise RequestError if the document is invalid, or if the request does not select exactly one operation.
        """
        cached = self._cache.get(source)
        if cached is None:
            cached = self._checked(source)
            if (size := _cached_size(source, cached)) <= _MAX_CACHED_BYTES:
                self._cache.put(source, cached, size)
        if isinstance(cached, _Refusal):
            raise RequestError(cached.code, cached.errors, 400, well_formed=True)
        return _named(cached, name)

    def _checked(self, source: str) -> list[Operation] | _Refusal:
        try:
            document = parse_document(source, max_tokens=self._max_tokens)
            if (nul := nul_in_document(document)) is not None:
                return _invalid([nul], ErrorCode.GRAPHQL_VALIDATION_FAILED)
            if (over := excess(document, self._max_depth)) is not None:
                return _too_complex(over.message, over.reason)
            errors = invalid(self._schema, document) or conflicts(self._schema, document)
        except DocumentTooLargeError as error:
            return _too_complex(str(error), Reason.SIZE)
        except TooManyError as error:
            return _too_complex(str(error), error.reason)
        except GraphQLError as error:
            return _invalid([error], ErrorCode.GRAPHQL_PARSE_FAILED)
        except RecursionError:
            return _too_complex("The document is nested too deeply. Reduce the nesting.", Reason.DEPTH)
        if errors:
            return _invalid(errors, ErrorCode.GRAPHQL_VALIDATION_FAILED)
        nodes = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        return [Operation(document, node, self._public) for node in nodes]


def _cached_size(source: str, cached: list[Operation] | _Refusal) -> int:
    if isinstance(cached, _Refusal):
        return len(source) + _ERROR_BYTES * len(cached.errors)
    tokens: int = cached[0].document.token_count if cached else 0
    return len(source) + _TOKEN_BYTES * tokens


def _too_complex(message: str, reason: Reason) -> _Refusal:
    error = shaped(message, extensions(ErrorCode.QUERY_TOO_COMPLEX, reason=reason))
    return _Refusal(ErrorCode.QUERY_TOO_COMPLEX, [error])


def _invalid(errors: list[GraphQLError], code: ErrorCode) -> _Refusal:
    return _Refusal(
        code,
        [{**dict(error.formatted), "message": _message(error), "extensions": extensions(code)} for error in errors],
    )


def _message(error: GraphQLError) -> str:
    message = error.message.partition(", but encountered error")[0]
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"


def _named(operations: list[Operation], name: str | None) -> Operation:
    found = operations if name is None else [one for one in operations if one.name == name]
    if len(found) == 1:
        return found[0]
    if name is not None:
        message = "The document has no operation with the name in `operationName`. Correct the name."
    elif found:
        message = "The document has several operations. Choose one with `operationName`."
    else:
        message = "The document has no operation. Add a query, mutation or subscription."
    raise request_error(ErrorCode.OPERATION_RESOLUTION_FAILURE, message, 400, well_formed=True)


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> Iterator[str]:
    """Yield the names of an operation's root fields, including root fields in fragments."""
    return (node.name.value for node in root_nodes(document, operation))


def root_nodes(document: DocumentNode, operation: OperationDefinitionNode) -> Iterator[FieldNode]:
    """Yield an operation's root fields, including root fields in fragments."""
    fragments, pending, visited = fragments_of(document), [operation.selection_set], set[str]()
    while pending:
        for node in pending.pop().selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                pending.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in visited:
                visited.add(node.name.value)
                pending.append(fragments[node.name.value].selection_set)
