"""Reads argument values from a document's literals and a request's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableNode,
    value_from_ast_untyped,
)


def defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    """Return the default values of an operation's variables."""
    return {
        one.variable.name.value: value_from_ast_untyped(one.default_value)
        for one in operation.variable_definitions or ()
        if one.default_value is not None
    }


def has_variable(node: ValueNode) -> bool:
    """Return whether an argument's value contains a variable."""
    if isinstance(node, ListValueNode):
        return any(map(has_variable, node.values))
    if isinstance(node, ObjectValueNode):
        return any(has_variable(one.value) for one in node.fields)
    return isinstance(node, VariableNode)


def value_of(node: ValueNode, variables: Mapping[str, Any]) -> Any:
    """Return the value of a literal or variable before coercion."""
    if isinstance(node, VariableNode):
        return variables.get(node.name.value, Undefined)
    if isinstance(node, ListValueNode):
        return [value_of(one, variables) for one in node.values]
    if isinstance(node, ObjectValueNode):
        return {one.name.value: value_of(one.value, variables) for one in node.fields}
    return value_from_ast_untyped(node)


def value_at(value: Any, path: list[str]) -> Any:
    """Return the value of the input field at ``path``, or ``None`` if the field is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return None if value is Undefined else value
