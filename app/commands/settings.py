"""``agentgraph settings``: prints all settings."""

from __future__ import annotations

import argparse

from app import settingsdocs


def run(options: argparse.Namespace) -> None:
    """Print the settings."""
    print(settingsdocs.table() if options.markdown else settingsdocs.env_example(), end="")
