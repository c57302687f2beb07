"""``agentgraph embedded``: runs the embedded platform without the gateway."""

import argparse
import asyncio
import signal

from app import garbage
from app.commands.data import opened_store
from app.devtokens import store_path
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.proxy_settings import letta_key, proxy_target
from app.settings import Settings
from app.usage import UsageError


def run(options: argparse.Namespace) -> None:
    """Run the embedded platform until a signal arrives. Then perform the signal's default action."""
    if (ended_by := asyncio.run(_serve(options, Settings.load()))) == signal.SIGINT:
        raise KeyboardInterrupt
    signal.raise_signal(ended_by)


async def _serve(options: argparse.Namespace, settings: Settings) -> signal.Signals:
    store = None if options.memory else opened_store()
    configured = EmbeddedOptions(port=options.port, gateway=proxy_target(settings), letta_own_key=letta_key(settings))
    platform = EmbeddedPlatform(configured, store)
    try:
        await platform.start()
    except OSError as error:
        raise UsageError(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}") from error
    garbage.settle()
    keys = platform.options
    print(f"AMS_BASE_URL={platform.urls['ams']}\nSUPABASE_SERVICE_KEY={keys.ams_key}")
    print(f"LETTA_BASE_URL={platform.urls['letta']}\nLETTA_API_KEY={keys.letta_key}")
    print(f"LITELLM_BASE_URL={platform.urls['litellm']}\n")
    print(f"# Data file: {store_path()}" if store else "# The data is in memory and is lost when this process ends.")
    signalled = _first_signal()
    print(f"# Page for injecting faults: {platform.page_url}", flush=True)
    try:
        return await signalled
    finally:
        await platform.stop()


def _first_signal() -> asyncio.Future[signal.Signals]:
    """Return a future that resolves at the first SIGINT or SIGTERM. A second signal has its default action."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[signal.Signals] = loop.create_future()
    handled = (signal.SIGINT, signal.SIGTERM)

    def stop(received: signal.Signals) -> None:
        for one in handled:
            loop.remove_signal_handler(one)
        first.set_result(received)

    for one in handled:
        loop.add_signal_handler(one, stop, one)
    return first
