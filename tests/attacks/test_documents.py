"""Documents that are expensive to validate: their CPU time, and the delay of other requests."""

from __future__ import annotations

import pytest

from tests.support.attack import Target
from tests.support.worstdocs import selections, worst

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SETTINGS = {"RATE_LIMIT_GENERAL": "0"}
DEEP = "fields { name type { fields { name args { name type { name } } type { name kind } } } }"


async def asked(target: Target, documents: list[str], *, user: str | None = None) -> float:
    """Send documents one after another. Return the CPU seconds of the process."""
    async with target.client() if user else target.client(None) as client, target.measured() as cost:
        for document in documents:
            answer = await client.post("/graphql", json={"query": document})
            assert answer.status_code == 200, answer.text
            assert len(answer.content) < 5_000_000
    return cost.cpu_seconds


async def test_introspection_under_many_aliases_costs_little(target: Target) -> None:
    names = range(60)
    documents = [
        "{" + " ".join(f"a{n}: __schema {{ types {{ {DEEP} }} }}" for n in names) + "}",
        "{" + " ".join(f'a{n}: __type(name: "Agent") {{ {DEEP} }}' for n in names) + "}",
        "{ __schema { " + " ".join(f"a{n}: types {{ {DEEP} }}" for n in names) + " } }",
        "{" + " ".join(f"a{n}: _service {{ sdl }}" for n in range(300)) + "}",
        "{ _service {" + " ".join(f"a{n}: sdl" for n in range(600)) + "} }",
        f"{{ __schema {{ types {{ {DEEP} }} }} }}",
    ]
    await asked(target, ["{ __schema { queryType { name } } _service { sdl } }"])
    async with target.bystander():
        assert await asked(target, documents) < 0.6


async def test_merging_of_fields_takes_linear_time(target: Target) -> None:
    documents = dict(selections())
    wide = [documents[name] for name in ("alike", "levels", "inline", "one-field", "conflicts-of-one", "leaves")]
    fragments = "".join(f" fragment F{n} on User {{ agents(first: 1) {{ nodes {{ id name }} }} }}" for n in range(90))
    spread = "".join(f"...F{n} " for n in range(90))
    async with target.bystander():
        assert await asked(target, [*wide, f"{{ viewer {{ {spread} }} }} {fragments}"], user="ada") < 1.0


async def test_no_document_blocks_the_loop(target: Target) -> None:
    documents = list(worst().values())
    async with target.bystander():
        await asked(target, documents, user="ada")
