from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry

from clients.codes import Reason
from clients.errors import UpstreamError
from clients.letta.records import AgentState, MemoryBlockRecord
from resolvers import agents, runs, templates
from resolvers.loaded import loaded
from resolvers.loading import Loader


class Named:
    def __init__(self, name: str | None) -> None:
        self.name = name


def a_loader(found: dict[str, Any], batches: list[list[str]]) -> Loader[str, Any]:
    async def batch(keys: list[str]) -> list[Any]:
        batches.append(keys)
        return [found[key] for key in keys]

    return Loader(batch)


def info_of(loader: Loader[str, Any]) -> Any:
    return SimpleNamespace(context=SimpleNamespace(loaders=SimpleNamespace(things=loader)))


def things(loaders: Any) -> Loader[str, Any]:
    loader: Loader[str, Any] = loaders.things
    return loader


def key_of(parent: Named, prefix: str = "") -> str | None:
    return None if parent.name is None else prefix + parent.name


@loaded(things, key=key_of)
def value_of(record: str, parent: Named, *, times: int = 1) -> str:
    """Return a value."""
    return f"{parent.name}={record}" * times


async def test_a_value_is_derived_from_the_record_the_parent_and_the_arguments() -> None:
    batches: list[list[str]] = []
    info = info_of(a_loader({"a": "A", "ua": "U"}, batches))
    assert await value_of(Named("a"), info) == "a=A"
    assert await value_of(Named("a"), info, times=2, prefix="u") == "a=Ua=U"
    assert batches == [["a"], ["ua"]]


async def test_without_a_key_nothing_is_loaded() -> None:
    batches: list[list[str]] = []
    assert await value_of(Named(None), info_of(a_loader({}, batches)), prefix="u") is None
    assert batches == []


async def test_an_error_of_the_loader_is_the_fields_error() -> None:
    failed = UpstreamError("No state.", reason=Reason.STATE_MISSING)
    with pytest.raises(UpstreamError) as caught:
        await value_of(Named("a"), info_of(a_loader({"a": failed}, [])))
    assert caught.value is failed


async def test_an_executor_can_do_what_the_resolver_does_in_parts() -> None:
    info, plan = info_of(a_loader({"ua": "U"}, [])), value_of.loaded
    key = plan.key(Named("a"), prefix="u", times=2)
    record = await plan.loader(info.context).load(key)
    assert plan.value(record, Named("a"), info.context, prefix="u", times=2) == "a=Ua=U"


def test_strawberry_sees_the_arguments_of_the_key_and_of_the_value() -> None:
    field: Any = strawberry.field(resolver=value_of)
    assert [argument.python_name for argument in field.arguments] == ["prefix", "times"]
    resolver = field.base_resolver
    assert resolver is not None
    assert resolver.is_async
    assert (resolver.name, inspect.getdoc(resolver.wrapped_func)) == ("value_of", "Return a value.")


def test_values_of_agents_and_runs_need_no_loader() -> None:
    block = MemoryBlockRecord(id="block-1", label="human", value="Ada")
    state = AgentState(id="agent-1", name="Ada's", tags=["mine", "user:1"], blocks=[block], model="openai/m")
    derived = [one.loaded.value(state, None, None) for one in (agents.name, agents.tags, agents.model_name)]
    assert derived == ["Ada's", ["mine"], "m"]
    assert agents.memory_blocks.loaded.value(state, None, None) == [block]
    assert agents.memory_blocks.loaded.value(state, None, None, labels=["persona"]) == []
    assert runs.agent_status.loaded.value([], None, None) is runs.AgentStatus.IDLE
    version = SimpleNamespace(template_id="greeter")
    assert templates.template_of.loaded.value(None, version, None).id == "greeter"
