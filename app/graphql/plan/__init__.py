"""Executes operations by plans instead of graphql-core's executor. ``docs/execution.md`` describes plans."""
