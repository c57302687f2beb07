"""Count the upstream calls of each field and print ``docs/calls.md``: ``python -m tests.support.calltable``.

Each document runs on two objects of a type and on four objects, both with the field and without it. The differences
give the batched calls and the calls for each object. A mutation or subscription selects its whole payload. Except for
the column *held*, a selection on an object needs more than the object's parent holds. Without the cache, all calls are
counted. With the cache, only the last of three runs is counted.
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
from typing import Any, NamedTuple

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_leaf_type

from schema.held import held_of
from tests.support.agentfiles import as_admin
from tests.support.cached import clocked
from tests.support.callcases import ARGUMENTS, BY_ID, DONE, FEW, MORE, NODES, OUTCOMES, PARENT_TYPES, ParentType
from tests.support.schema import SCHEMA
from tests.support.stack import Stack, embedded_stack, opened_socket, until

PLATFORMS = 4
"""The number of gateways that run at the same time."""
WARM_RUNS = 3
"""How often a document runs until its answer is from the cache. The second run can find that a record is outdated."""

UUID = re.compile(r"(?<=/)[a-z]+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HEAD = """# Upstream calls of each field

The table lists the upstream calls that each field adds to an operation. The calls were counted on a running gateway. The gateway
makes the calls in the column *once* only once, even if several objects have the field. Fields without upstream calls are not listed.

The columns *once* and *for each object* have the calls with an empty [cache](cache.md). The column *warm* has the kinds of calls that
remain if the records are in the cache and fresh. Mutations and subscriptions do not read from the cache.

The column *held* lists fields of the returned object that the field's parent already has. For example, a message has the id of its
run. If a selection needs only these fields and `__typename`, the gateway makes no call, and the field costs 1. The gateway then
does not check that the object still exists ([decision 0072](decisions/0072-selections-that-the-parent-holds.md)).

- The gateway deduplicates equal calls of one operation, so a call is not added if a different field has made the call. After a
  list has returned an object, the gateway does not read the object again.
- `nodes` and `_entities` make the same calls as `node`.
- The row of a mutation or subscription includes the calls for its whole payload, and the calls from AMS to Letta. In a payload,
  `run { id }`, `agent { id }` and `agent { owner { … } }` make no call. In an event, `run { id }` makes no call.
- `Subscription.conversation` is not in the table: it polls Letta for the agent's runs
  ([how often](streams.md#following-a-conversation)).
- The fields at one level of a query make their calls concurrently. One user's calls can use a quarter of the
  service's [bulkhead](limits.md#upstream-calls).
- When the client disconnects, the gateway cancels the calls.
- The gateway repeats some failed calls, which are not in the table ([which](operating.md#retries)).

| field | once | for each object | warm | held |
|---|---|---|---|---|
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
    """A running gateway whose embedded services have objects of one type.

    If ``is_warm`` is true, the gateway has answered each document before.
    """

    def __init__(self, parent: ParentType, stack: Stack, thing: str, count: int, *, is_warm: bool = False) -> None:
        self._is_warm = is_warm
        self._base: Counter[str] | None = None
        self._parent = parent
        self._stack = stack
        self._thing = thing
        self._count = count

    async def calls(self, asked: str, thing: str | None = None) -> Counter[str]:
        """Run the document with the selection on each object, and count the upstream calls."""
        document = self._parent.document.replace("%s", "__typename " + asked).replace("$n", str(self._count))
        for _ in range(WARM_RUNS if self._is_warm else 1):
            self._stack.platform.state.calls.clear()
            answer = await self._stack.graphql(document.replace("$id", thing or self._thing))
            assert "errors" not in answer, (document, answer)
        return Counter(_call(made) for made in self._stack.platform.state.calls)

    async def added(self, kind: str, name: str, field: Any) -> Counter[str]:
        """Count the calls that a field adds."""
        given, make = ARGUMENTS.get(f"{kind}.{name}", ("", None))
        thing = None if make is None else await make(self._stack)
        leaf = is_leaf_type(get_named_type(field.type))
        asked = name + (f"({given})" if given else "")
        with_it = await self.calls(asked + ("" if leaf else f" {{ {_unheld(field)} }}"), thing)
        if thing is not None or self._base is None:
            self._base = await self.calls("", thing)
        if (held := _held(field)) and not self._is_warm:
            inner = get_named_type(field.type).fields
            parts = [one if is_leaf_type(get_named_type(inner[one].type)) else f"{one} {{ id }}" for one in held]
            spared = await self.calls(f"{asked} {{ {' '.join(parts)} }}", thing)
            assert spared == self._base, (kind, name, spared)
        with_it.subtract(self._base)
        return Counter({call: times for call, times in with_it.items() if times})


class _Row(NamedTuple):
    """A field's row: its name, the columns that list its calls, the set of its calls, and the column *held*."""

    name: str
    columns: str
    calls: set[str]
    held: str


def _held(field: Any) -> list[str]:
    """Return the fields that the parent holds of the object that a field returns."""
    held = held_of(field)
    return [] if held is None else sorted(held.fields - {"__typename"})


def _unheld(field: Any) -> str:
    """Return a selection for which a field's object is read, but nothing else."""
    held = held_of(field)
    if held is None:
        return "__typename"
    inner: dict[str, Any] = get_named_type(field.type).fields
    return next(name for name, one in inner.items() if name not in held.fields and _is_attribute(one))


def _is_attribute(field: Any) -> bool:
    """Return whether a field is an attribute of its record."""
    return not field.extensions["strawberry-definition"].base_resolver


NAMES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM"}


def _call(made: dict[str, Any]) -> str:
    """Format a call for the table: service, method and path without ids."""
    path = re.sub(r"(?<=^/templates/)(?!validate|publish)[^/]+", "{id}", UUID.sub("{id}", made["path"].split("?")[0]))
    path = re.sub(r"(?<=/versions/).+", "{version}", path)
    return f"{NAMES[made['service']]} `{made['method']} {path}`"


async def counted_by_id(kind: str, count: int) -> Counter[str]:
    """Count the calls that read objects by id. Assert that ``node``, ``nodes`` and ``_entities`` make equal calls."""
    async with embedded_stack(cache="off") as stack:
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
    async with embedded_stack(cache="off") as stack:
        given = given.replace("$id", json.dumps(await make(stack)))
        document = f"{root.name.lower()} {{ {name}({given}) {{ {_whole(root.fields[name].type)} }} }}"
        return await _calls(stack, document)


def _whole(kind: Any) -> str:
    """Select all leaf fields of a type, or of an interface's types, and ``__typename`` of nested objects."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLInterfaceType):
        return " ".join(f"... on {one.name} {{ {_whole(one)} }}" for one in SCHEMA.get_possible_types(named))
    leaves = {name: is_leaf_type(get_named_type(field.type)) for name, field in named.fields.items()}
    return " ".join(name if leaf else f"{name} {{ {_unheld(named.fields[name])} }}" for name, leaf in leaves.items())


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
    async with embedded_stack(cache="off") as stack:
        counting = Counting(parent, stack, await parent.make(stack, count), count)
        return {name: await counting.added(kind, name, field) for name, field in of_kind}


async def remaining(names: set[str]) -> dict[str, set[str]]:
    """Return the calls that each field adds if the records are in the cache. ``names`` are the fields with calls."""
    found: dict[str, set[str]] = {}
    with clocked():  # the records stay fresh on a slow machine, too
        async with embedded_stack(cache="on") as stack:
            for kind, of_kind in by_kind():
                wanted = [(name, field) for name, field in of_kind if f"`{kind}.{name}`" in names]
                parent = PARENT_TYPES[kind]
                counting = Counting(parent, stack, await parent.make(stack, FEW) if wanted else "", FEW, is_warm=True)
                found |= {f"`{kind}.{name}`": set(await counting.added(kind, name, field)) for name, field in wanted}
            for kind, make in NODES.items():
                [form, *_] = _forms(kind, [json.dumps(await make(stack))])
                for _ in range(WARM_RUNS):
                    found[f"`Query.node` of `{kind}`"] = set(await _calls(stack, "{ " + form + " }"))
    return found


def by_kind() -> list[tuple[str, list[tuple[str, Any]]]]:
    """Return the fields of each type."""
    ordered = groupby(sorted(fields(), key=lambda one: one[0]), key=lambda one: one[0])
    return [(kind, [(name, field) for _, name, field in of_kind]) for kind, of_kind in ordered]


async def table() -> str:
    """Return the text of ``docs/calls.md``."""
    works = [_of_kind(kind, of_kind) for kind, of_kind in by_kind()]
    works += [_by_id(kind) for kind in NODES]
    roots = [root for root in (SCHEMA.mutation_type, SCHEMA.subscription_type) if root is not None]
    works += [_done(root, name) for root in roots for name in root.fields if name != "conversation"]
    some = asyncio.Semaphore(PLATFORMS)

    async def counted_rows(work: Awaitable[list[_Row]]) -> list[_Row]:
        async with some:
            return await work

    rows = [row for found in await asyncio.gather(*map(counted_rows, works)) for row in found if row.calls]
    warm = await remaining({row.name for row in rows})
    by_calls = defaultdict[str, list[str]](list)
    for row in rows:
        by_calls[f"{row.columns} {_remaining(row, warm.get(row.name, row.calls))} | {row.held} |"].append(row.name)
    return HEAD + "".join(sorted(f"| {', '.join(sorted(names))} {calls}\n" for calls, names in by_calls.items()))


async def _of_kind(kind: str, of_kind: list[tuple[str, Any]]) -> list[_Row]:
    most = PARENT_TYPES[kind].most
    few = await counted(kind, min(FEW, most), of_kind)
    more = await counted(kind, MORE, of_kind) if most > 1 else few
    held = {name: ", ".join(f"`{one}`" for one in _held(field)) for name, field in of_kind}
    return [_row(f"`{kind}.{name}`", few[name], more[name], held[name]) for name in few]


async def _by_id(kind: str) -> list[_Row]:
    few, more = [await counted_by_id(kind, count) for count in (FEW, MORE)]
    return [_row(f"`Query.node` of `{kind}`", few, more)]


async def _done(root: GraphQLObjectType, name: str) -> list[_Row]:
    calls = await counted_done(root, name)
    return [_row(f"`{root.name}.{name}`", calls, calls)]


def _row(name: str, few: Counter[str], more: Counter[str], held: str = "") -> _Row:
    """Return a field's row, with the two columns that list its calls."""
    batched, repeated = [], []
    for call in sorted(few | more):
        each, rest = divmod(more[call] - few[call], MORE - FEW)
        once = few[call] - each * FEW
        assert (rest, each >= 0, once >= 0) == (0, True, True), f"{name}: {call} {few[call]}, then {more[call]}"
        batched += [f"{_times(once)}{call}"] if once else []
        repeated += [f"{_times(each)}{call}"] if each else []
    return _Row(name, f"| {', '.join(batched)} | {', '.join(repeated)} |", set(few | more), held)


def _remaining(row: _Row, warm: set[str]) -> str:
    """Return the column that lists the calls that remain."""
    assert warm <= row.calls, (row, warm)
    return "the same" if warm == row.calls else ", ".join(sorted(warm)) or "none"


def _times(number: int) -> str:
    return "" if number == 1 else f"{number} times "


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        print(asyncio.run(table()), end="")
