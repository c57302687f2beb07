"""The ``agentgraph`` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import math
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from app import VERSION, devtokens, settingsdocs
from app.addresses import host
from app.banner import banner
from app.circle import gateway_of, letta_key
from app.drain import Drain
from app.embedded.seed import PEOPLE
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.embedded.store import Store, StoreError, open_store, remove_store
from app.rest.secrets import agent_secret
from app.server import server_config
from app.settings import Settings, SettingsError

MAX_HOURS = 24 * 365
_YES = frozenset({"y", "yes"})


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
    parser.add_argument("--version", action="version", version=f"agentgraph {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="start the gateway; settings come from the environment and .env")
    serve.add_argument("--host", type=_host, help="the address to listen on where HOST is not set")
    serve.set_defaults(run=_serve)
    embedded = commands.add_parser("embedded", help="start the embedded AMS, Letta and LiteLLM alone")
    embedded.add_argument("--port", type=_port, default=8100)
    for command in (serve, embedded):
        command.add_argument("--memory", action="store_true", help="forget the embedded platform's data at the end")
    embedded.set_defaults(run=_embedded)
    token = commands.add_parser("token", help="print a development token")
    token.add_argument("--user", default="ada", help=f"{', '.join(PEOPLE)}, or a user id (UUID)")
    token.add_argument("--hours", type=_hours, default=devtokens.LIFETIME_SECONDS / 3600)
    token.add_argument("--admin", action="store_true")
    token.set_defaults(run=_token)
    secret = commands.add_parser("agent-secret", help="print the secret that a user's agents open their proxy with")
    secret.add_argument("--user", required=True, help=f"{', '.join(PEOPLE)}, or a user id (UUID)")
    secret.set_defaults(run=_agent_secret)
    reset = commands.add_parser("reset", help="remove what the embedded platform has kept")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.set_defaults(run=_reset)
    settings = commands.add_parser("settings", help="print every setting, its default and its meaning")
    settings.add_argument("--markdown", action="store_true", help="as a table, instead of as an env file")
    settings.set_defaults(run=_settings)
    schema = commands.add_parser("schema", help="print the graph's schema")
    schema.add_argument("--check", metavar="FILE", type=Path, help="fail where FILE is not this schema, and show how")
    schema.add_argument("--federation", action="store_true", help="as a subgraph, for composition")
    schema.set_defaults(run=_schema)
    return parser


def _host(text: str) -> str | None:
    try:
        return host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


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
    with contextlib.ExitStack() as opened:
        store = None if options.memory or not settings.embedded_services else _open_store()
        if store is not None:
            opened.callback(store.close)
        _run(settings, _listen(settings.bind_host, settings.port), store)


def _run(settings: Settings, listener: socket.socket, store: Store | None) -> None:
    from app.crowd import open_more_files  # noqa: PLC0415 - the other commands start faster without these
    from app.main import create_app  # noqa: PLC0415
    from app.stopping import Server  # noqa: PLC0415
    from app.telemetry import Telemetry, log_everything, make_logger  # noqa: PLC0415

    token = _make_token("ada") if settings.development_tokens else None
    port = listener.getsockname()[1]
    kept_in = None if store is None else str(store_path())
    text = banner(settings, version=VERSION, port=port, token=token, kept_in=kept_in)
    telemetry, drain = Telemetry(make_logger(settings.log_level)), Drain()
    log_everything(telemetry.log)
    open_more_files()
    if settings.is_production:
        telemetry.announce("starting", text, version=VERSION, port=port)  # everything in the log is JSON
    else:
        print(text, flush=True)
    app = create_app(settings, telemetry, store=store, drain=drain, announces=True)
    config = server_config(app, settings, loop="uvloop")
    Server(config, drain, telemetry, grace=settings.shutdown_grace_seconds).run(sockets=[listener])


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
    settings = Settings.load()

    async def serve() -> signal.Signals:
        store = None if options.memory else _open_store()
        asked = EmbeddedOptions(port=options.port, gateway=gateway_of(settings), letta_own_key=letta_key(settings))
        platform = EmbeddedPlatform(asked, store)
        try:
            await platform.start()
        except OSError as error:
            raise UsageError(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}") from error
        keys = platform.options
        print(f"AMS_BASE_URL={platform.urls['ams']}\nSUPABASE_SERVICE_KEY={keys.ams_key}")
        print(f"LETTA_BASE_URL={platform.urls['letta']}\nLETTA_API_KEY={keys.letta_key}")
        print(f"LITELLM_BASE_URL={platform.urls['litellm']}\n")
        print(f"# Its data is kept in {store_path()}" if store else "# Its data is in memory, and goes with it.")
        signalled = _first_signal()
        print(f"# To make a service fail, and to see it: {platform.page_url}", flush=True)
        try:
            return await signalled
        finally:
            await platform.stop()

    if (ended_by := asyncio.run(serve())) == signal.SIGINT:
        raise KeyboardInterrupt
    signal.raise_signal(ended_by)


def _first_signal() -> asyncio.Future[signal.Signals]:
    """The first signal to stop; a second one has its default effect."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[signal.Signals] = loop.create_future()
    handled = (signal.SIGINT, signal.SIGTERM)

    def stop(given: signal.Signals) -> None:
        for one in handled:
            loop.remove_signal_handler(one)
        first.set_result(given)

    for one in handled:
        loop.add_signal_handler(one, stop, one)
    return first


def store_path() -> Path:
    """Where the embedded platform keeps its data."""
    return devtokens.data_dir() / "embedded.sqlite3"


def _open_store() -> Store:
    try:
        return open_store(store_path())
    except StoreError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise devtokens.DataFolderError(f"{store_path().parent}: {error.strerror}") from error


def _reset(options: argparse.Namespace) -> None:
    path = store_path()
    if not path.exists():
        print(f"Nothing to remove: {path} does not exist")
        return
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this removes {path}, the embedded platform's agents, messages and keys; add --yes")
        if input(f"Remove {path}, the embedded platform's agents, messages and keys? [y/N] ").lower() not in _YES:
            raise UsageError("nothing was removed")
    try:
        removed = remove_store(path)
    except StoreError as error:
        raise UsageError(str(error)) from error
    print("\n".join(f"Removed {one}" for one in removed))


def _token(options: argparse.Namespace) -> None:
    if not Settings.load().development_tokens:
        raise UsageError("development tokens do not sign in here: Supabase is set up, or this is production")
    print(_make_token(options.user, hours=options.hours, admin=options.admin))


def _make_token(user: str, *, hours: float | None = None, admin: bool = False) -> str:
    lifetime = devtokens.LIFETIME_SECONDS if hours is None else hours * 3600
    user_id, email = _person(user)
    secret = devtokens.dev_secret()
    return devtokens.make_token(secret, user_id=user_id, email=email, lifetime_seconds=lifetime, admin=admin)


def _person(user: str) -> tuple[str, str | None]:
    """The id of a user given by name or id, and the email of one who has a name."""
    user_id, email, _ = PEOPLE.get(user.lower(), (user, None, None))
    try:
        return str(uuid.UUID(user_id)), email
    except ValueError as error:
        raise UsageError(f"no such user: {user}. Use {', '.join(PEOPLE)} or a UUID.") from error


def _agent_secret(options: argparse.Namespace) -> None:
    key = devtokens.master_key(Settings.load())
    if key is None:
        raise UsageError("AGENT_SECRET_MASTER_KEY: needed here, since Supabase is set up, or this is production")
    print(agent_secret(key, _person(options.user)[0]))


def _settings(options: argparse.Namespace) -> None:
    print(settingsdocs.table() if options.markdown else settingsdocs.env_example(), end="")


def _schema(options: argparse.Namespace) -> None:
    from schema.build import build_schema  # noqa: PLC0415 - the other commands start faster without it
    from schema.federation import graph_sdl, subgraph_sdl  # noqa: PLC0415

    text = (subgraph_sdl if options.federation else graph_sdl)(build_schema())
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
