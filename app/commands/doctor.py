"""``agentgraph doctor``: checks the settings and the services, and says what to do about each problem."""

import argparse
import asyncio
import os
import shutil
import sys

from app.doctor.browsers import normal_origin
from app.doctor.checking import check_installation
from app.doctor.installation import Options
from app.doctor.report import ExitStatus


def run(options: argparse.Namespace) -> int:
    """Print the report, and return the exit status."""
    try:
        origin = None if options.origin is None else normal_origin(options.origin)
    except ValueError as error:
        print(f"agentgraph: --origin: {error}", file=sys.stderr)
        return ExitStatus.UNREADABLE
    return asyncio.run(_report(options, Options(origin=origin, seconds=options.timeout)))


async def _report(options: argparse.Namespace, chosen: Options) -> ExitStatus:
    """Print the report before the event loop waits for threads, which may still wait for DNS."""
    report = await check_installation(chosen, os.environ)
    if options.json:
        print(report.as_json(), flush=True)
    else:
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(report.as_text(shutil.get_terminal_size().columns, coloured=coloured), flush=True)
    return report.exit_status
