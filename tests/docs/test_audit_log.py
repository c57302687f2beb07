"""The description of the audit log has the values that the gateway writes."""

from __future__ import annotations

import json
import re
from typing import Any

from app.audit import Event, Outcome
from clients.origin import Endpoint
from tests.docs.markdown import ROOT
from tests.support.stack import embedded_stack

PAGE = (ROOT / "docs" / "operating.md").read_text()
SECTION = PAGE.partition("\n## Audit log\n")[2].partition("\n## ")[0]
EXAMPLES: list[dict[str, Any]] = [json.loads(one) for one in re.findall(r"```json\n(.*?)\n```", SECTION, re.DOTALL)]
ROWS = dict(re.findall(r"^\| (`.+?) \| (.+) \|$", SECTION, re.MULTILINE))
DELETE = "mutation($a: ID!) { deleteAgent(input: {agentId: $a}) { deletedAgentId } }"


def test_all_events_outcomes_and_endpoints_are_described() -> None:
    assert {name.strip("`") for name in ROWS if name.strip("`") in {*Event}} == {*Event}
    for name, values in (("`outcome`", Outcome), ("`endpoint`", Endpoint)):
        assert {*values} <= set(re.findall("`(.+?)`", ROWS[name])), name


async def test_the_examples_have_the_fields_of_lines() -> None:
    async with embedded_stack() as stack:
        await stack.graphql(DELETE, {"a": await stack.make_agent()})
        await stack.client.get("/v1/models", headers={"authorization": "Bearer x.y.z"})
        lines = [json.loads(line) for line in stack.log.getvalue().splitlines()]
    written = [line for line in lines if line.get("logger") == "audit"]
    assert len(EXAMPLES) == len(written) == 2
    described = {name.strip("`") for names in ROWS for name in names.split(", ")} | {"event", "request_id"}
    for example, line in zip(EXAMPLES, written, strict=True):
        assert example.keys() == line.keys()
        assert line.keys() <= described | {"logger", "level", "timestamp"}
        for name, value in example.items():
            assert type(value) is type(line[name])
            if isinstance(value, str) and "…" not in value:
                assert line[name] == value
