"""``agentgraph schema``: prints or checks the GraphQL schema."""

import argparse
import difflib

from app.usage import UsageError
from schema.build import build_schema
from schema.federation import graph_sdl, subgraph_sdl, unruled_subgraph_sdl


def run(options: argparse.Namespace) -> None:
    """Print the GraphQL schema, or compare the schema with a file. Raise UsageError if the file and schema differ."""
    if options.no_rules and not options.federation:
        raise UsageError("--no-rules: requires --federation")
    composed = unruled_subgraph_sdl if options.no_rules else subgraph_sdl
    text = (composed if options.federation else graph_sdl)(build_schema())
    if options.check is None:
        print(text, end="")
        return
    try:
        stored = options.check.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {options.check}: {error}") from error
    difference = difflib.unified_diff(
        stored.splitlines(), text.splitlines(), str(options.check), "this schema", lineterm=""
    )
    if lines := list(difference):
        raise UsageError("\n".join([f"{options.check} differs from the schema:", *lines[:40]]))
