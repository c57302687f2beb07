"""The ``agentgraph`` command."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import math
import socket
import sys
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import uvicorn

from app import devtokens
from app.banner import banner
from app.embedded.seed import PEOPLE
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.server import server_config
from app.settings import Settings, SettingsError

MAX_HOURS = 24 * 365


class UsageError(Exception):
    """The command cannot be carried out; the text says why, in a line or a few."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Answers the exit status: 0, or 1 with the reason on standard error, or 2 for bad usage."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (UsageError, SettingsError) as error:
        print(f"agentgraph: {error}", file=sys.stderr)
        return 1
    except devtokens.DataFolderError as error:
        print(f"agentgraph: cannot use the data folder {error}. Set XDG_DATA_HOME.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentgraph", description="One graph over an AI agent platform.")
    parser.add_argument("--version", action="version", version=f"agentgraph {version('agentgraph')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="start the gateway; settings come from the environment and .env")
    serve.add_argument("--host", help="the address to listen on where HOST is not set")
    serve.set_defaults(run=_serve)
    embedded = commands.add_parser("embedded", help="start the embedded AMS, Letta and LiteLLM alone")
    embedded.add_argument("--port", type=_port, default=8100)
    embedded.set_defaults(run=_embedded)
    token = commands.add_parser("token", help="print a development token")
    token.add_argument("--user", default="ada", help=f"{', '.join(PEOPLE)}, or a user id (UUID)")
    token.add_argument("--hours", type=_hours, default=devtokens.LIFETIME_SECONDS / 3600)
    token.add_argument("--admin", action="store_true")
    token.set_defaults(run=_token)
    schema = commands.add_parser("schema", help="print the graph's schema")
    schema.add_argument("--check", metavar="FILE", type=Path, help="fail where FILE is not this schema, and show how")
    schema.set_defaults(run=_schema)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= MAX_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is no lifetime: more than 0, at most {MAX_HOURS} hours")
    return hours


def _serve(options: argparse.Namespace) -> None:
    settings = Settings.load()
    if settings.host is None and options.host:
        settings = settings.model_copy(update={"host": options.host})
    token = _make_token("ada") if settings.development_tokens else None
    listener = _listen(settings.bind_host, settings.port)
    port = listener.getsockname()[1]
    print(banner(settings, version=version("agentgraph"), port=port, token=token), flush=True)
    config = server_config(
        "app.main:create_app",
        settings,
        factory=True,
        loop="uvloop",
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}. Set PORT or HOST.") from error
    listener.listen(2048)
    return listener


def _embedded(options: argparse.Namespace) -> None:
    async def serve() -> None:
        platform = EmbeddedPlatform(EmbeddedOptions(port=options.port))
        try:
            await platform.start()
        except OSError as error:
            raise UsageError(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}") from error
        keys = platform.options
        print(f"AMS_BASE_URL={platform.urls['ams']}\nSUPABASE_SERVICE_KEY={keys.ams_key}")
        print(f"LETTA_BASE_URL={platform.urls['letta']}\nLETTA_API_KEY={keys.letta_key}")
        print(f"LITELLM_BASE_URL={platform.urls['litellm']}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await platform.stop()

    asyncio.run(serve())


def _token(options: argparse.Namespace) -> None:
    if not Settings.load().development_tokens:
        raise UsageError("development tokens do not sign in here: Supabase is set up, or this is production")
    print(_make_token(options.user, hours=options.hours, admin=options.admin))


def _make_token(user: str, *, hours: float | None = None, admin: bool = False) -> str:
    lifetime = devtokens.LIFETIME_SECONDS if hours is None else hours * 3600
    user_id, email, _ = PEOPLE.get(user.lower(), (user, None, None))
    try:
        user_id = str(uuid.UUID(user_id))
    except ValueError as error:
        raise UsageError(f"no such user: {user}. Use {', '.join(PEOPLE)} or a UUID.") from error
    secret = devtokens.dev_secret()
    return devtokens.make_token(secret, user_id=user_id, email=email, lifetime_seconds=lifetime, admin=admin)


def _schema(options: argparse.Namespace) -> None:
    from schema.build import build_schema  # noqa: PLC0415 - the other commands start faster without it

    text = build_schema().as_str() + "\n"
    if options.check is None:
        print(text, end="")
        return
    try:
        kept = options.check.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {options.check}: {error}") from error
    difference = difflib.unified_diff(
        kept.splitlines(), text.splitlines(), str(options.check), "this schema", lineterm=""
    )
    if lines := list(difference):
        raise UsageError("\n".join([f"{options.check} is not this schema:", *lines[:40]]))
