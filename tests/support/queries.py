"""Operations made by hypothesis over a whole schema, and whether an answer fits one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationType,
    Undefined,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
)
from hypothesis import strategies as st

MAX_DEPTH = 6
MAX_FIELDS = 4
NO_IDS = ["", "agent-", "nonsense", "../../x"]
INTS = st.sampled_from([0, 1, 2, 3, 20, 100, 101, -1, 2**31 - 1])
TEXTS = st.sampled_from(["", "a", "hello [[tokens=2]]", "\u2028 ünï ☃", "x" * 300, '"', "2026-01-01", "1.0.0"])
ONE_IN_3, ONE_IN_4, ONE_IN_8, ONE_IN_10 = (st.integers(0, most) for most in (2, 3, 7, 9))
ROOTS = st.sampled_from(["subscription", *["mutation"] * 4, *["query"] * 15])
KEYS = st.integers(0, 999).map("key-{}".format)
LENGTHS = st.integers(0, 3)
JSONS = st.sampled_from(["{}", "[]", "null", '"x"', "1", '{a: [1, {b: null}], c: "d"}'])


@cache
def one_of(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(names)


@cache
def some(names: tuple[str, ...], most: int, *, unique: bool = False) -> st.SearchStrategy[list[str]]:
    return st.lists(one_of(names), max_size=most, unique=unique)


class Operations:
    """Operations over ``schema``.

    ``ids`` are those of each kind of thing, told by the name of an argument (``agentId``) or of its field
    (``agent(id:)``); ``texts`` are strings by the name of the argument that takes them, ``inputs`` sound ones by their
    types.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        ids: Mapping[str, Sequence[str]],
        texts: Mapping[str, Sequence[str]],
        inputs: Mapping[str, Sequence[str]],
    ) -> None:
        self._schema = schema
        self._ids = {name: st.sampled_from(values) for name, values in ids.items() if values}
        self._texts = {name: st.sampled_from(values) for name, values in texts.items() if values}
        self._inputs = {name: st.sampled_from(values) for name, values in inputs.items()}
        entity = schema.get_type("_Entity")
        self._entities = tuple(one.name for one in entity.types) if isinstance(entity, GraphQLUnionType) else ()
        self._any_id = st.sampled_from([*(one for kind in ids.values() for one in kind), *NO_IDS])
        self._scalars = {
            "Int": INTS.map(str),
            "Float": st.sampled_from(["0", "1.5", "-3", "2e3"]),
            "Boolean": st.sampled_from(["true", "false"]),
            "JSON": JSONS,
            "Date": st.sampled_from(["2026-11-01", "2026-11-25", "2020-01-01", "yesterday"]).map(json.dumps),
            "DateTime": st.sampled_from(["2026-11-25T00:00:00Z", "never"]).map(json.dumps),
        }

    def strategy(self) -> st.SearchStrategy[str]:
        """Operations, a mutation or a subscription now and then."""
        return st.composite(self._drawn)()

    def _drawn(self, draw: st.DrawFn) -> str:
        kind = draw(ROOTS)
        root = self._schema.get_root_type(OperationType(kind))
        assert root is not None
        if kind == "subscription":  # which has one field, and no other
            name = draw(one_of(tuple(sorted(root.fields))))
            return f"{kind} {{ f1x0: {self._field(draw, name, root.fields[name], 1)} }}"
        return f"{kind} {self._selection(draw, root, 1)}"

    def _selection(self, draw: st.DrawFn, kind: Any, depth: int) -> str:
        if isinstance(kind, GraphQLUnionType):
            fields: dict[str, GraphQLField] = {}
        else:
            fields = {name: field for name, field in kind.fields.items() if self._fits(field, depth)}
        names = draw(some(tuple(sorted(fields)), MAX_FIELDS)) if fields else []
        chosen = [
            f"f{depth}x{place}: {self._field(draw, name, fields[name], depth)}" for place, name in enumerate(names)
        ]
        if is_abstract_type(kind):
            possible = {one.name: one for one in self._schema.get_possible_types(kind)}
            for place, one in enumerate(draw(some(tuple(sorted(possible)), 2, unique=True))):
                inner = self._selection(draw, possible[one], depth).replace(f"f{depth}x", f"f{depth}p{place}{one}x")
                chosen.append(f"... on {one} {inner}")
        return "{ __typename " + " ".join(chosen) + " }"

    def _fits(self, field: GraphQLField, depth: int) -> bool:
        return depth < MAX_DEPTH or is_leaf_type(get_named_type(field.type))

    def _field(self, draw: st.DrawFn, name: str, field: GraphQLField, depth: int) -> str:
        given = self._given(draw, field.args, name)
        arguments = f"({given})" if given else ""
        kind = get_named_type(field.type)
        return f"{name}{arguments}" + ("" if is_leaf_type(kind) else f" {self._selection(draw, kind, depth + 1)}")

    def _given(self, draw: st.DrawFn, taken: Mapping[str, Any], of: str) -> str:
        """Arguments, or fields of an input: those that must be, and some of the others."""
        given = []
        for name, one in taken.items():
            must = isinstance(one.type, GraphQLNonNull) and one.default_value is Undefined
            if must or draw(ONE_IN_3) == 0:
                given.append(f"{name}: {self._value(draw, one.type, of if name in {'id', 'ids'} else name)}")
        return " ".join(given)

    def _value(self, draw: st.DrawFn, taken: Any, name: str) -> str:
        if isinstance(taken, GraphQLNonNull):
            return self._whole(draw, taken.of_type, name)
        return "null" if draw(ONE_IN_10) == 0 else self._whole(draw, taken, name)

    def _whole(self, draw: st.DrawFn, taken: Any, name: str) -> str:
        if isinstance(taken, GraphQLList):
            return "[" + " ".join(self._value(draw, taken.of_type, name) for _ in range(draw(LENGTHS))) + "]"
        if isinstance(taken, GraphQLEnumType):
            return draw(one_of(tuple(sorted(taken.values))))
        if isinstance(taken, GraphQLInputObjectType):
            sound = self._inputs.get(taken.name)
            if sound is not None and draw(ONE_IN_4):
                return draw(sound)
            return "{" + (self._one_of(draw, taken) if taken.is_one_of else self._given(draw, taken.fields, name)) + "}"
        assert isinstance(taken, GraphQLScalarType)
        if taken.name == "ID":
            return json.dumps(draw(self._id(draw, name)))
        if taken.name == "String":
            return json.dumps(draw(self._text(draw, name)))
        if taken.name == "_Any" and draw(ONE_IN_8):
            kind = draw(one_of(self._entities))
            node_id = json.dumps(draw(self._id(draw, kind[0].lower() + kind[1:])))
            return f"{{__typename: {json.dumps(kind)} id: {node_id}}}"
        return draw(self._scalars.get(taken.name, JSONS))

    def _one_of(self, draw: st.DrawFn, taken: GraphQLInputObjectType) -> str:
        name = draw(one_of(tuple(sorted(taken.fields))))
        return f"{name}: {self._whole(draw, taken.fields[name].type, name)}"

    def _id(self, draw: st.DrawFn, name: str) -> st.SearchStrategy[str]:
        """Mostly one of the kind that is asked for."""
        if name == "streamKey":
            return KEYS
        ids = self._ids.get(name.removesuffix("Id"))
        return ids if ids is not None and draw(ONE_IN_8) else self._any_id

    def _text(self, draw: st.DrawFn, name: str) -> st.SearchStrategy[str]:
        texts = self._texts.get(name)
        return texts if texts is not None and draw(ONE_IN_4) else TEXTS


def contradictions(schema: GraphQLSchema, document: DocumentNode, data: dict[str, Any] | None) -> list[str]:
    """Where ``data`` is no answer to ``document`` in ``schema``: nulls, shapes, values, types, keys not asked for.

    The document is executed over the answer itself: what the schema would not let it say is an error.
    """
    if data is None:
        return []
    told = execute_sync(schema, document, data, field_resolver=_by_key, type_resolver=_by_typename)
    assert isinstance(told, ExecutionResult)
    wrong = [str(error) for error in told.errors or []]
    if not wrong and json.dumps(told.data, sort_keys=True) != json.dumps(data, sort_keys=True):
        wrong.append(f"{told.data} is what was asked of {data}")
    return wrong


def resolved(schema: GraphQLSchema, document: DocumentNode, data: dict[str, Any] | None) -> int:
    """How many fields of an answer a resolver was asked for."""
    asked = 0

    def count(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
        nonlocal asked
        asked += 1
        return source[info.path.key]

    if data is not None:
        execute_sync(schema, document, data, field_resolver=count, type_resolver=_by_typename)
    return asked


def _by_key(source: Any, info: GraphQLResolveInfo[Any], /, **_: Any) -> Any:
    return source[info.path.key]


def _by_typename(value: Any, *_: Any) -> str:
    return str(value["__typename"])


def silent_nulls(schema: GraphQLSchema, document: DocumentNode, data: Any, errors: list[dict[str, Any]]) -> list[str]:
    """Paths of fields that are null although their directive says that null means an error, and none says why."""
    said = {json.dumps(error.get("path")) for error in errors}
    silent: list[str] = []

    def look(source: Any, info: GraphQLResolveInfo[Any], **_: Any) -> Any:
        value = source[info.path.key]
        if value is None and _semantically_non_null(info) and json.dumps(info.path.as_list()) not in said:
            silent.append(f"{info.parent_type.name}.{info.field_name} at {info.path.as_list()}")
        return value

    if data is not None:
        execute_sync(schema, document, data, field_resolver=look, type_resolver=_by_typename)
    return silent


def _semantically_non_null(info: GraphQLResolveInfo[Any]) -> bool:
    node = info.parent_type.fields[info.field_name].ast_node
    return node is not None and any(directive.name.value == "semanticNonNull" for directive in node.directives)
