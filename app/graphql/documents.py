"""Documents: parsed and validated once, remembered by their text."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    validate,
)

from app.graphql.errors import RequestError, extensions, request_error
from clients.errors import ErrorCode

_CACHE_SIZE = 1000
_MAX_CACHED_CHARS = 20_000
"""Longer documents are not remembered, so that what strangers send cannot fill the memory."""

_MAX_ERRORS = 20


class Operation:
    """One operation of a valid document."""

    def __init__(self, document: DocumentNode, node: OperationDefinitionNode, *, introspection_only: bool) -> None:
        self.document = document
        self.node = node
        self.name = node.name.value if node.name else None
        self.introspection_only = introspection_only

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation


class Documents:
    """The documents this process knows. Limits are checked before anything that costs more than linear time."""

    def __init__(self, schema: GraphQLSchema, *, max_tokens: int, max_depth: int) -> None:
        self._schema = schema
        self._max_tokens = max_tokens
        self._max_depth = max_depth
        self._known: OrderedDict[str, DocumentNode | RequestError] = OrderedDict()

    def operation(self, source: str, name: str | None) -> Operation:
        """The operation that a request asks for.

        Raises:
            RequestError: for a document that does not parse or is not valid, and for a name it does not have.
        """
        document = self._known.get(source)
        if document is None:
            document = self._checked(source)
            self._remember(source, document)
        else:
            self._known.move_to_end(source)
        if isinstance(document, RequestError):
            raise document
        node = _named(document, name)
        return Operation(document, node, introspection_only=_introspects_only(document, node))

    def _remember(self, source: str, document: DocumentNode | RequestError) -> None:
        if len(source) <= _MAX_CACHED_CHARS:
            self._known[source] = document
            if len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)

    def _checked(self, source: str) -> DocumentNode | RequestError:
        try:
            document = parse(source, max_tokens=self._max_tokens)
            if _depth(document, self._max_depth) > self._max_depth:
                return _too_complex(f"The document is more than {self._max_depth} levels deep.", "DEPTH")
            errors = validate(self._schema, document, max_errors=_MAX_ERRORS)
        except GraphQLError as error:
            if "Parsing aborted" in error.message:
                return _too_complex("The document is too large or nested too deeply.", "SIZE")
            return _invalid([error], ErrorCode.GRAPHQL_PARSE_FAILED)
        except RecursionError:
            return _too_complex("The document is nested too deeply.", "DEPTH")
        return _invalid(errors, ErrorCode.GRAPHQL_VALIDATION_FAILED) if errors else document


def _too_complex(message: str, reason: str) -> RequestError:
    return request_error(ErrorCode.QUERY_TOO_COMPLEX, message, 400, well_formed=True, reason=reason)


def _invalid(errors: list[GraphQLError], code: ErrorCode) -> RequestError:
    shapes: list[dict[str, Any]] = [{**dict(error.formatted), "extensions": extensions(code)} for error in errors]
    return RequestError(shapes, 400, well_formed=True)


def _named(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    nodes = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        nodes = [node for node in nodes if node.name is not None and node.name.value == name]
    if len(nodes) == 1:
        return nodes[0]
    if name is not None:
        message = "The document has no operation of that name."
    else:
        message = "The document has several operations: say which by operationName." if nodes else "No operation."
    raise request_error(ErrorCode.OPERATION_RESOLUTION_FAILURE, message, 400, well_formed=True)


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def _depth(document: DocumentNode, limit: int) -> int:
    """How deep fields are nested, introspection left out. Each fragment is measured once: linear in the document."""
    fragments, known = _fragments(document), {}

    def of_set(selections: SelectionSetNode | None, level: int) -> int:
        if selections is None:
            return 0
        if level > limit * 4:  # nested in fragments, if not in fields
            return limit + 1
        return max((of(node, level + 1) for node in selections.selections), default=0)

    def of(node: object, level: int) -> int:
        if isinstance(node, FieldNode):
            return 0 if node.name.value.startswith("__") else 1 + of_set(node.selection_set, level)
        if isinstance(node, InlineFragmentNode):
            return of_set(node.selection_set, level)
        if isinstance(node, FragmentSpreadNode):
            return of_fragment(node.name.value, level)
        return 0

    def of_fragment(name: str, level: int) -> int:
        if name not in known:
            known[name] = 0  # a fragment that spreads itself is validation's business
            known[name] = of_set(fragments[name].selection_set, level) if name in fragments else 0
        return known[name]

    operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return max((of_set(node.selection_set, 0) for node in operations), default=0)


def _introspects_only(document: DocumentNode, operation: OperationDefinitionNode) -> bool:
    """Whether an operation asks for nothing but the schema."""
    fragments = _fragments(document)

    def only(selections: SelectionSetNode) -> bool:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                if node.name.value not in {"__schema", "__type", "__typename"}:
                    return False
            elif isinstance(node, InlineFragmentNode):
                if not only(node.selection_set):
                    return False
            elif isinstance(node, FragmentSpreadNode) and not only(fragments[node.name.value].selection_set):
                return False
        return True

    return operation.operation is OperationType.QUERY and only(operation.selection_set)
