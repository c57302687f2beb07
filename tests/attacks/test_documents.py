"""Documents that would hold the process: what each costs it, and whether others notice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.attack import Target, attacked
from tests.support.worstdocs import selections, worst

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

NOT_LIMITED = {"RATE_LIMIT_GENERAL": "0"}
DEEP = "fields { name type { fields { name args { name type { name } } type { name kind } } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with attacked(tmp_path_factory.mktemp("documents"), **NOT_LIMITED) as running:
        yield running


async def asked(target: Target, documents: list[str], *, user: str | None = None) -> float:
    """Send documents once, one after another. Returns the CPU seconds of the process."""
    async with target.client() if user else target.client(None) as client, target.measured() as cost:
        for document in documents:
            answer = await client.post("/graphql", json={"query": document})
            assert answer.status_code == 200, answer.text
            assert len(answer.content) < 5_000_000
    return cost.cpu_seconds


async def test_a_stranger_introspects_under_many_names(target: Target) -> None:
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


async def test_fields_that_meet_are_compared_in_linear_time(target: Target) -> None:
    documents = dict(selections())
    wide = [documents[name] for name in ("alike", "levels", "inline", "one-field", "conflicts-of-one", "leaves")]
    fragments = "".join(f" fragment F{n} on User {{ agents(first: 1) {{ nodes {{ id name }} }} }}" for n in range(90))
    spread = "".join(f"...F{n} " for n in range(90))
    async with target.bystander():
        assert await asked(target, [*wide, f"{{ viewer {{ {spread} }} }} {fragments}"], user="ada") < 1.0


async def test_no_document_holds_the_process_while_others_go_on(target: Target) -> None:
    documents = list(worst().values())
    async with target.bystander():
        await asked(target, documents, user="ada")
