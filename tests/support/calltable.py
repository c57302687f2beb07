"""Count the upstream calls of each field and print ``docs/calls.md``: ``python -m tests.support.calltable``.

Each document runs on two objects of a type and on four objects, both with the field and without it. The differences
give the batched calls and the calls for each object. A mutation or subscription selects its whole payload.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator
from itertools import groupby
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_leaf_type

from tests.support.agentfiles import as_admin
from tests.support.callcases import ARGUMENTS, BY_ID, DONE, FEW, MORE, NODES, OUTCOMES, PARENT_TYPES, ParentType
from tests.support.schema import SCHEMA
from tests.support.stack import Stack, embedded_stack, opened_socket, until

PLATFORMS = 4
"""The number of gateways that run at the same time."""
UUID = re.compile(r"(?<=/)[a-z]+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HEAD = """# Upstream calls of each field

The table lists the upstream calls that each field adds to an operation. The calls were counted on a running gateway. The column
*once* has calls that are made once, however many objects have the field. Fields without upstream calls are not listed.

- The gateway makes equal calls of one operation only once, so a call that another field has made is not added. The gateway does
  not read an object again after a list has returned the object.
- `nodes` and `_entities` make the same calls as `node`.
- The row of a mutation or subscription includes the calls for its whole payload, and the calls from AMS to Letta.
- `Subscription.conversation` is not in the table: it polls Letta for the agent's runs
  ([how often](streams.md#following-a-conversation)).
- The fields at one level of a query make their calls concurrently. One user's calls can use a quarter of the
  service's [bulkhead](limits.md#upstream-calls).
- When the client disconnects, the gateway cancels the calls.
- The gateway repeats some failed calls, which are not in the table ([which](operating.md#retries)).

| field | once | for each object |
|---|---|---|
"""  # noqa: E501 - a page


def fields() -> Iterator[tuple[str, str, Any]]:
    """Yield the type, name and definition of each field with a resolver. Yield fields of ``Message`` only once."""
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
    """A running gateway whose embedded services have objects of one type."""

    def __init__(self, parent: ParentType, stack: Stack, thing: str, count: int) -> None:
        self._parent = parent
        self._stack = stack
        self._thing = thing
        self._count = count

    async def calls(self, asked: str, thing: str | None = None) -> Counter[str]:
        """Run the document with the selection on each object, and count the upstream calls."""
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


_Row = tuple[str, str]
NAMES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM"}


def _call(made: dict[str, Any]) -> str:
    """Format a call for the table: service, method and path without ids."""
    path = re.sub(r"(?<=^/templates/)(?!validate|publish)[^/]+", "{id}", UUID.sub("{id}", made["path"].split("?")[0]))
    path = re.sub(r"(?<=/versions/).+", "{version}", path)
    return f"{NAMES[made['service']]} `{made['method']} {path}`"


async def counted_by_id(kind: str, count: int) -> Counter[str]:
    """Count the calls that read objects by id. Assert that ``node``, ``nodes`` and ``_entities`` make equal calls."""
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
    """Run a mutation or subscription with its whole payload to its end, and count the calls."""
    given, make = DONE[f"{root.name}.{name}"]
    async with embedded_stack() as stack:
        given = given.replace("$id", json.dumps(await make(stack)))
        document = f"{root.name.lower()} {{ {name}({given}) {{ {_whole(root.fields[name].type)} }} }}"
        return await _calls(stack, document)


def _whole(kind: Any) -> str:
    """Select all leaf fields of a type, or of an interface's types, and ``__typename`` of nested objects."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLInterfaceType):
        return " ".join(f"... on {one.name} {{ {_whole(one)} }}" for one in SCHEMA.get_possible_types(named))
    leaves = {name: is_leaf_type(get_named_type(field.type)) for name, field in named.fields.items()}
    return " ".join(name if leaf else f"{name} {{ __typename }}" for name, leaf in leaves.items())


async def _calls(stack: Stack, document: str) -> Counter[str]:
    """Count the calls of an operation and of the streams that it starts. Assert that nothing fails."""
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
    """Return whether no stream is running. The query makes no upstream calls."""
    answer = await stack.graphql("{ viewer { streams(active: true) { id } } }")
    return not answer["data"]["viewer"]["streams"]


async def counted(kind: str, count: int, of_kind: list[tuple[str, Any]]) -> dict[str, Counter[str]]:
    """Count the calls that each field of a type adds on ``count`` objects."""
    parent = PARENT_TYPES[kind]
    async with embedded_stack() as stack:
        counting = Counting(parent, stack, await parent.make(stack, count), count)
        return {name: await counting.added(kind, name, field) for name, field in of_kind}


async def table() -> str:
    """Return the text of ``docs/calls.md``."""
    by_kind = groupby(sorted(fields(), key=lambda one: one[0]), key=lambda one: one[0])
    works = [_of_kind(kind, [(name, field) for _, name, field in of_kind]) for kind, of_kind in by_kind]
    works += [_by_id(kind) for kind in NODES]
    roots = [root for root in (SCHEMA.mutation_type, SCHEMA.subscription_type) if root is not None]
    works += [_done(root, name) for root in roots for name in root.fields if name != "conversation"]
    some = asyncio.Semaphore(PLATFORMS)

    async def counted_rows(work: Awaitable[list[_Row]]) -> list[_Row]:
        async with some:
            return await work

    by_calls = defaultdict[str, list[str]](list)
    for rows in await asyncio.gather(*map(counted_rows, works)):
        for name, calls in rows:
            by_calls[calls].append(name)
    by_calls.pop("|  |  |", None)
    return HEAD + "".join(sorted(f"| {', '.join(sorted(names))} {calls}\n" for calls, names in by_calls.items()))


async def _of_kind(kind: str, of_kind: list[tuple[str, Any]]) -> list[_Row]:
    most = PARENT_TYPES[kind].most
    few = await counted(kind, min(FEW, most), of_kind)
    more = await counted(kind, MORE, of_kind) if most > 1 else few
    return [_row(f"`{kind}.{name}`", few[name], more[name]) for name in few]


async def _by_id(kind: str) -> list[_Row]:
    few, more = [await counted_by_id(kind, count) for count in (FEW, MORE)]
    return [_row(f"`Query.node` of `{kind}`", few, more)]


async def _done(root: GraphQLObjectType, name: str) -> list[_Row]:
    calls = await counted_done(root, name)
    return [_row(f"`{root.name}.{name}`", calls, calls)]


def _row(name: str, few: Counter[str], more: Counter[str]) -> _Row:
    """Return a field's name, and the two columns that list its calls."""
    batched, repeated = [], []
    for call in sorted(few | more):
        each, rest = divmod(more[call] - few[call], MORE - FEW)
        once = few[call] - each * FEW
        assert (rest, each >= 0, once >= 0) == (0, True, True), f"{name}: {call} {few[call]}, then {more[call]}"
        batched += [f"{_times(once)}{call}"] if once else []
        repeated += [f"{_times(each)}{call}"] if each else []
    return name, f"| {', '.join(batched)} | {', '.join(repeated)} |"


def _times(number: int) -> str:
    return "" if number == 1 else f"{number} times "


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        print(asyncio.run(table()), end="")
