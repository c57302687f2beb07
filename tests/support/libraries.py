"""The client libraries of the matrix, each in a process of its own that runs one case after the other."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.capabilities import NEWER_CLIENTS, NODE_MODULES, OLDER_CLIENTS

CASE_SECONDS = 60
"""The time limit of one case. On an idle machine, a case takes at most six seconds."""

_ROOT = Path(__file__).parents[2]
_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_AGENTS_DISABLE_TRACING": "1", "DO_NOT_TRACK": "1"}
"""With these settings, the libraries connect only to the gateway."""
_LINE_BYTES = 1 << 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Library:
    """A client library.

    Attributes:
        name: the name in the table.
        command: the interpreter of the library's environment, and the script.
        endpoints: what the library can ask for: ``chat``, ``responses`` or ``letta``.
    """

    name: str
    command: tuple[str, ...]
    endpoints: tuple[str, ...] = ("chat", "responses")

    @property
    def needs(self) -> str:
        """The name of the mark for tests that need the library."""
        return "needs_node" if self.command[0] == "node" else "needs_clients"


def _python(name: str, module: str, venv: Path = NEWER_CLIENTS, **more: Any) -> Library:
    return Library(name, (str(venv / "bin" / "python"), "-m", f"tests.libraries.{module}"), **more)


def _node(name: str, script: str, **more: Any) -> Library:
    return Library(name, ("node", "--no-warnings", str(NODE_MODULES.parent / script)), **more)


LIBRARIES = (
    _python("openai-python", "openai_python"),
    _python("openai-agents", "openai_agents"),
    _python("langchain-openai", "langchain"),
    _python("LiteLLM SDK", "litellm"),
    _python("pydantic-ai", "pydantic_ai"),
    _python("instructor", "instructor", OLDER_CLIENTS),
    _python("llama-index", "llama_index", OLDER_CLIENTS),
    _python("letta-client", "letta", endpoints=("letta",)),
    _node("openai-node", "library_openai.mjs"),
    _node("@ai-sdk/openai", "library_ai_openai.mjs"),
    _node("@ai-sdk/openai-compatible", "library_ai_compatible.mjs", endpoints=("chat",)),
)


@dataclass
class Running:
    """A running library.

    Attributes:
        versions: the version of each package, by name.
        cases: the names of the cases that the library has.
    """

    versions: dict[str, str]
    cases: list[str]
    _process: asyncio.subprocess.Process

    async def run(self, case: str, **asked: Any) -> Json:
        """Run a case, and return its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case, **asked}).encode() + b"\n")
        try:
            async with asyncio.timeout(CASE_SECONDS):
                return await _line(self._process)
        except TimeoutError as error:
            raise TimeoutError(f"the case {case} of {asked} has no result after {CASE_SECONDS} s") from error


@asynccontextmanager
async def running(library: Library, folder: Path) -> AsyncIterator[Running]:
    """Run a library until the context ends. ``folder`` becomes its home, and has what it prints."""
    with (folder / "printed").open("w+b") as printed:
        process = await asyncio.create_subprocess_exec(
            *library.command,
            cwd=_ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **_QUIET},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=printed,
            limit=_LINE_BYTES,
        )
        try:
            async with asyncio.timeout(CASE_SECONDS):
                ready = await _line(process)
            yield Running(ready["versions"], ready["cases"], process)
        except (AssertionError, TimeoutError) as error:
            printed.seek(0)
            error.add_note(printed.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> Json:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the library's process has ended"
    said: Json = json.loads(line)
    return said
