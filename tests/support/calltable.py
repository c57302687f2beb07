"""Count the upstream calls of each field and print ``docs/calls.md``: ``python -m tests.support.calltable``.

A field is read on two objects of its type and on four, each time with and without the field. From the differences
follow the batched calls and the calls per object. A mutation or subscription is counted with its whole payload.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Iterator
from itertools import groupby
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_leaf_type

from tests.support.agentfiles import as_admin
from tests.support.callcases import ARGUMENTS, BY_ID, DONE, FEW, MORE, NODES, OUTCOMES, PARENT_TYPES, ParentType
from tests.support.schema import SCHEMA
from tests.support.stack import Stack, embedded_stack, opened_socket, until

PLATFORMS = 4
"""The number of concurrent gateways."""
UUID = re.compile(r"(?<=/)[a-z]+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HEAD = """# Upstream calls of each field

The upstream calls that each field adds, counted on a running gateway. *Once* is one batched call, however many objects the
field is selected on; *each* is a call for each object. Calls are deduplicated within an operation: a call that another field
has made adds nothing, and objects of a list are not read again. A field that is not listed makes no calls of its own.

`node`, `nodes` and `_entities` make the same calls. A mutation or subscription is counted to its end, with all of its payload
or events, including AMS's calls to Letta. `Subscription.conversation` polls the agent's runs in Letta every
`STREAM_LOOK_SECONDS`, less often while the agent is idle, once for all follows of the user.

The calls of one level of a query are concurrent, up to the user's share of the service's bulkhead, a quarter. When the client
disconnects, they are cancelled.

| field | calls |
|---|---|
"""  # noqa: E501 - a page


def fields() -> Iterator[tuple[str, str, Any]]:
    """Yield type, name and field of each field with a resolver; fields of all messages once."""
    message: Any = SCHEMA.type_map["Message"]
    for kind in SCHEMA.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("_"):
            continue
        if kind in (SCHEMA.mutation_type, SCHEMA.subscription_type) or OUTCOMES.fullmatch(kind.name):
            continue
        shared = message.fields if message in kind.interfaces else {}
        for name, field in kind.fields.items():
            definition = field.extensions.get("strawberry-definition")
            answered = definition is not None and definition.base_resolver
            if answered and name != "id" and name not in shared and name not in BY_ID:
                yield kind.name, name, field
    yield from (("Message", name, field) for name, field in message.fields.items())


class Counting:
    """A running platform with objects of one type."""

    def __init__(self, parent: ParentType, stack: Stack, thing: str, count: int) -> None:
        self._parent = parent
        self._stack = stack
        self._thing = thing
        self._count = count

    async def calls(self, asked: str, thing: str | None = None) -> Counter[str]:
        """Count the calls of the document with a selection on each object."""
        document = self._parent.document.replace("%s", "__typename " + asked).replace("$n", str(self._count))
        self._stack.platform.state.calls.clear()
        answer = await self._stack.graphql(document.replace("$id", thing or self._thing))
        assert "errors" not in answer, (document, answer)
        return Counter(_call(made) for made in self._stack.platform.state.calls)

    async def added(self, kind: str, name: str, field: Any) -> Counter[str]:
        """Count the calls that a field adds."""
        given, make = ARGUMENTS.get(f"{kind}.{name}", ("", None))
        thing = None if make is None else await make(self._stack)
        leaf = is_leaf_type(get_named_type(field.type))
        asked = name + (f"({given})" if given else "") + ("" if leaf else " { __typename }")
        with_it = await self.calls(asked, thing)
        with_it.subtract(await self.calls("", thing))
        return Counter({call: times for call, times in with_it.items() if times})


NAMES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM"}


def _call(made: dict[str, Any]) -> str:
    """Format a call for the table: service, method and path without ids."""
    path = re.sub(r"(?<=^/templates/)(?!validate|publish)[^/]+", "{id}", UUID.sub("{id}", made["path"].split("?")[0]))
    path = re.sub(r"(?<=/versions/).+", "{version}", path)
    return f"{NAMES[made['service']]} `{made['method']} {path}`"


async def counted_by_id(kind: str, count: int) -> Counter[str]:
    """Count the calls that read objects of a type by id; all fields must make the same."""
    async with embedded_stack() as stack:
        ids = [json.dumps(await NODES[kind](stack)) for _ in range(count)]
        found = [await _calls(stack, "{ " + form + " }") for form in _forms(kind, ids)]
    assert all(one == found[0] for one in found), (kind, found)
    return found[0]


def _forms(kind: str, ids: list[str]) -> list[str]:
    represented = " ".join(f'{{__typename: "{kind}" id: {one}}}' for one in ids)
    return [
        " ".join(f"n{at}: node(id: {one}) {{ __typename }}" for at, one in enumerate(ids)),
        f"nodes(ids: [{' '.join(ids)}]) {{ __typename }}",
        f"_entities(representations: [{represented}]) {{ __typename }}",
    ]


async def counted_done(root: GraphQLObjectType, name: str) -> Counter[str]:
    """Count the calls of a mutation or subscription to its end, with its whole payload."""
    given, make = DONE[f"{root.name}.{name}"]
    async with embedded_stack() as stack:
        given = given.replace("$id", json.dumps(await make(stack)))
        document = f"{root.name.lower()} {{ {name}({given}) {{ {_whole(root.fields[name].type)} }} }}"
        return await _calls(stack, document)


def _whole(kind: Any) -> str:
    """Select all fields of a type or of an interface's types, and ``__typename`` of nested objects."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLInterfaceType):
        return " ".join(f"... on {one.name} {{ {_whole(one)} }}" for one in SCHEMA.get_possible_types(named))
    leaves = {name: is_leaf_type(get_named_type(field.type)) for name, field in named.fields.items()}
    return " ".join(name if leaf else f"{name} {{ __typename }}" for name, leaf in leaves.items())


async def _calls(stack: Stack, document: str) -> Counter[str]:
    """Count the calls of an operation and of what it starts. Nothing in it may fail."""
    stack.platform.state.calls.clear()
    if document.startswith("subscription"):
        async with opened_socket(stack) as socket:
            assert [event async for event in socket.events(document)]
    else:
        answer = await as_admin(stack, document)
        assert "errors" not in answer, (document, answer)
        [payload, *_] = answer["data"].values()
        assert not (isinstance(payload, dict) and payload.get("errors")), (document, answer)
    await until(lambda: _quiet(stack))
    return Counter(_call(made) for made in stack.platform.state.calls)


async def _quiet(stack: Stack) -> bool:
    """Return whether no stream runs. The query makes no upstream calls."""
    answer = await stack.graphql("{ viewer { streams(active: true) { id } } }")
    return not answer["data"]["viewer"]["streams"]


async def counted(kind: str, count: int, of_kind: list[tuple[str, Any]]) -> dict[str, Counter[str]]:
    """Count the calls that each field of a type adds on that many objects."""
    parent = PARENT_TYPES[kind]
    async with embedded_stack() as stack:
        counting = Counting(parent, stack, await parent.make(stack, count), count)
        return {name: await counting.added(kind, name, field) for name, field in of_kind}


async def table() -> str:
    """Return the page."""
    by_kind = groupby(sorted(fields(), key=lambda one: one[0]), key=lambda one: one[0])
    works = [_of_kind(kind, [(name, field) for _, name, field in of_kind]) for kind, of_kind in by_kind]
    works += [_by_id(kind) for kind in NODES]
    roots = [root for root in (SCHEMA.mutation_type, SCHEMA.subscription_type) if root is not None]
    works += [_done(root, name) for root in roots for name in root.fields if name != "conversation"]
    some = asyncio.Semaphore(PLATFORMS)

    async def counted_rows(work: Awaitable[list[str | None]]) -> list[str | None]:
        async with some:
            return await work

    rows = [row for rows in await asyncio.gather(*map(counted_rows, works)) for row in rows if row]
    return HEAD + "\n".join(sorted(rows)) + "\n"


async def _of_kind(kind: str, of_kind: list[tuple[str, Any]]) -> list[str | None]:
    most = PARENT_TYPES[kind].most
    few = await counted(kind, min(FEW, most), of_kind)
    more = await counted(kind, MORE, of_kind) if most > 1 else few
    return [_row(f"`{kind}.{name}`", few[name], more[name]) for name in few]


async def _by_id(kind: str) -> list[str | None]:
    few, more = [await counted_by_id(kind, count) for count in (FEW, MORE)]
    return [_row(f"`Query.node`: `{kind}`", few, more)]


async def _done(root: GraphQLObjectType, name: str) -> list[str | None]:
    calls = await counted_done(root, name)
    return [_row(f"`{root.name}.{name}`", calls, calls)]


def _row(name: str, few: Counter[str], more: Counter[str]) -> str | None:
    parts = []
    for call in sorted(few | more):
        each, rest = divmod(more[call] - few[call], MORE - FEW)
        once = few[call] - each * FEW
        assert (rest, each >= 0, once >= 0) == (0, True, True), f"{name}: {call} {few[call]}, then {more[call]}"
        parts += [f"once {_times(once)}{call}"] if once else []
        parts += [f"each {_times(each)}{call}"] if each else []
    return f"| {name} | {', '.join(parts)} |" if parts else None


def _times(number: int) -> str:
    return "" if number == 1 else f"{number} x "


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        print(asyncio.run(table()), end="")
