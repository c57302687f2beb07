"""Metrics about the cache of the services' records."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from app.tallies import Tally
from clients.state.cache import Tag
from resolvers.cache.reads import Outcome


class CacheMetrics:
    """Counts the cache's reads and dropped tags. Implements ``resolvers.cache.reads.CacheMetrics``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        text = "Reads through the cache, by kind of record and outcome."
        self._reads = Tally[tuple[str, Outcome]]("agentgraph_cache_reads", text, ["kind", "outcome"], registry)
        self._drops = Tally[tuple[Tag]]("agentgraph_cache_drops", "Dropped tags.", ["tag"], registry)

    def watch_memory(self, memory: Callable[[], int]) -> None:
        """Add a metric for the memory of cached records, in bytes. ``memory`` must be thread-safe."""
        text = "Estimated memory of cached records, in bytes."
        Gauge("agentgraph_cache_memory_bytes", text, registry=self._registry).set_function(memory)

    def cache_read(self, kind: str, outcome: Outcome) -> None:
        """Count a read."""
        self._reads.add((kind, outcome))

    def cache_dropped(self, tag: Tag) -> None:
        """Count a tag that was dropped."""
        self._drops.add((tag,))
