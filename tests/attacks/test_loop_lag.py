from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.attack import attacked


@pytest.mark.timeout(60)
async def test_a_bystander_is_not_affected_by_ordinary_queries(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target, target.client() as client:
        async with target.bystander(), target.measured() as cost:
            query = "{ viewer { agents(first: 1) { nodes { runs(first: 1) { nodes { id } } } } } }"
            for _ in range(20):
                assert (await client.post("/graphql", json={"query": query})).status_code == 200
        assert cost.cpu_seconds > 0
        assert cost.upstream_calls >= 20
        assert cost.peak_rss_bytes >= cost.rss_bytes
        assert "agentgraph_loop_lag_seconds_count" in await target.metrics()
