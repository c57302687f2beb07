"""The command line of ``agentgraph``. A command's module is imported only when the command runs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from app.embedded.people import PEOPLE
from app.usage import UsageError

MAX_HOURS = 24 * 365
MAX_WORKERS = 64
MAX_SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Return the exit status: the command's own, 0 after success, 1 after an error, or 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return resolve_name(options.run)(options) or 0
    except UsageError as error:
        print(f"agentgraph: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentgraph", description="A GraphQL gateway for an AI agent platform.")
    parser.add_argument("--version", action=_Version, help="show program's version number and exit")
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="start the gateway, with settings from the environment and .env")
    serve.add_argument("--host", type=_host, help="the address to listen on if HOST is not set")
    serve.set_defaults(run="app.commands.serve:run")
    serve.add_argument("--workers", type=_workers, help="the number of processes that serve the port (setting WORKERS)")
    serve.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # the supervisor starts its workers with it
    embedded = commands.add_parser("embedded", help="start the embedded AMS, Letta and LiteLLM without the gateway")
    embedded.add_argument("--port", type=_port, default=8100, help="the port to listen on (default: 8100)")
    for command in (serve, embedded):
        command.add_argument("--memory", action="store_true", help="keep the embedded platform's data in memory only")
    embedded.set_defaults(run="app.commands.embedded:run")
    token = commands.add_parser("token", help="print a development token")
    token.add_argument("--user", default="ada", help=f"the user: {', '.join(PEOPLE)}, or a user id (UUID)")
    token.add_argument("--hours", type=_hours, default=24.0, help="the token's lifetime in hours (default: 24)")
    token.add_argument("--admin", action="store_true", help="give the token the admin role")
    token.set_defaults(run="app.commands.tokens:token")
    password = commands.add_parser("password", help="print the password of the development users, ada and grace")
    password.set_defaults(run="app.commands.tokens:password")
    secret = commands.add_parser(
        "agent-secret", help="print the agent secret with which Letta makes model calls for a user"
    )
    secret.add_argument("--user", required=True, help=f"the user: {', '.join(PEOPLE)}, or a user id (UUID)")
    secret.set_defaults(run="app.commands.tokens:secret")
    revoke = commands.add_parser("revoke", help="revoke a sign-in session at a running gateway")
    revoke.add_argument("session", help="the session_id claim of the session's access tokens")
    revoke.add_argument(
        "--url", default="http://127.0.0.1:8000", help="the gateway's URL (default: http://127.0.0.1:8000)"
    )
    revoke.set_defaults(run="app.commands.revoke:run")
    reset = commands.add_parser("reset", help="delete the embedded platform's data")
    reset.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    reset.set_defaults(run="app.commands.data:reset")
    settings = commands.add_parser("settings", help="print all settings with defaults and descriptions")
    settings.add_argument("--markdown", action="store_true", help="print a Markdown table instead of an env file")
    settings.set_defaults(run="app.commands.settings:run")
    _add_doctor(commands)
    schema = commands.add_parser("schema", help="print the GraphQL schema")
    schema.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="compare FILE with the schema; if they differ, print the difference and exit with 1",
    )
    schema.add_argument("--federation", action="store_true", help="print the Apollo Federation subgraph")
    schema.add_argument(
        "--no-rules",
        action="store_true",
        help="with --federation: omit @authenticated and @requiresScopes, for routers that do not support them",
    )
    schema.set_defaults(run="app.commands.schema:run")
    return parser


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="check the settings and the services, and say how to cure problems")
    doctor.add_argument("--json", action="store_true", help="print the report as JSON")
    doctor.add_argument("--origin", help="check whether web pages of this origin may use the gateway (CORS)")
    doctor.add_argument(
        "--timeout", type=_seconds, default=5.0, help="the time limit of each call in seconds (default: 5)"
    )
    doctor.set_defaults(run="app.commands.doctor:run")


class _Version(argparse.Action):
    """An argparse action that prints the version."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"agentgraph {resolve_name('app.version:VERSION')}")
        parser.exit()


def _host(text: str) -> str | None:
    try:
        host: str | None = resolve_name("app.addresses:host")(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    return host


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers (1 to {MAX_WORKERS})")
    return int(text)


def _hours(text: str) -> float:
    hours = _number(text)
    if not 0 < hours <= MAX_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a lifetime (more than 0, at most {MAX_HOURS} hours)")
    return hours


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time limit (more than 0, at most {MAX_SECONDS} seconds)")
    return seconds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
