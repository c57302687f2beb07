"""Characters that no text may contain are refused in every text input, without upstream calls."""

from __future__ import annotations

import json

import httpx

from tests.support.doors import refusal
from tests.support.stack import Stack, opened_socket
from tests.support.text_inputs import all_text_inputs, ask


def codes(answer: httpx.Response) -> set[str]:
    return {error["extensions"]["code"] for error in refusal(answer)["errors"]}


async def test_nul_is_refused_in_every_text_input(stack: Stack) -> None:
    found = await all_text_inputs(stack)
    before = list(stack.platform.state.calls)
    for given in found:
        query, variables = given.by_variable("a\0b")
        told = await ask(stack, query, variables)
        assert codes(told) == {"BAD_USER_INPUT"}, given.name
        assert refusal(told)["errors"][0]["extensions"]["reason"] == "TEXT"
        assert "variables.t" in refusal(told)["errors"][0]["message"]
        assert codes(await ask(stack, given.by_literal('"a\\u0000b"'))) == {"GRAPHQL_VALIDATION_FAILED"}, given.name
    assert stack.platform.state.calls == before, "nothing is asked of anybody"


async def test_half_a_surrogate_pair_is_refused_in_every_text_input(stack: Stack) -> None:
    found = await all_text_inputs(stack)
    before = list(stack.platform.state.calls)
    for given in found:
        query, _ = given.by_variable("")
        raw = f'{{"query": {json.dumps(query)}, "variables": {{"t": "a\\ud800b"}}}}'
        assert codes(await ask(stack, query, raw=raw.encode())) == {"BAD_USER_INPUT"}, given.name
        assert codes(await ask(stack, given.by_literal('"a\\ud800b"'))) == {"GRAPHQL_PARSE_FAILED"}, given.name
    assert stack.platform.state.calls == before


async def test_a_body_over_the_limit_is_refused(stack: Stack) -> None:
    answer = await ask(
        stack, "query($t: String!) { templateValidation(source: $t) { valid } }", {"t": "x" * 10_000_000}
    )
    assert (answer.status_code, codes(answer)) == (413, {"PAYLOAD_TOO_LARGE"})


async def test_nul_is_refused_on_a_socket_too(stack: Stack) -> None:
    async with opened_socket(stack) as socket:
        query = "query($t: String) { templates(search: $t) { nodes { id } } }"
        await socket.subscribe(query, {"t": "a\0b"})
        told = await socket.hear()
        assert (told["type"], told["payload"][0]["extensions"]["code"]) == ("error", "BAD_USER_INPUT")
