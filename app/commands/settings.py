"""``agentgraph settings``: prints all settings."""

import argparse

from app import settingsdocs


def run(options: argparse.Namespace) -> None:
    """Print the settings."""
    print(settingsdocs.table() if options.markdown else settingsdocs.env_example(), end="")
