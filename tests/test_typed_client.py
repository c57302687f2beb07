"""A strict TypeScript client is generated from the schema and the documents of the examples, and compiles."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/package.json"))
CHAT = ROOT / "examples" / "chat"
STRICT = ("strict", "noUncheckedIndexedAccess", "exactOptionalPropertyTypes")

pytestmark = [pytest.mark.needs_examples, pytest.mark.timeout(180)]


def passes(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_compile_strictly_with_their_generated_types() -> None:
    """One test, since it writes the generated types anew and reads them."""
    for example in EXAMPLES:
        passes("node", "codegen.mjs", folder=example)
        passes("node_modules/.bin/tsc", "--noEmit", folder=example)
        settings = passes("node_modules/.bin/tsc", "--showConfig", folder=example)
        assert [name for name in STRICT if f'"{name}": true' not in settings] == []
        types = (example / "src" / "gql" / "graphql.ts").read_text()
        assert not re.search(r"\bany\b", re.sub(r"/\*.*?\*/", "", types, flags=re.DOTALL))
        operations = set(re.findall(r"^(?:query|mutation|subscription) (\w+)", documents(example), re.MULTILINE))
        assert operations
        assert operations == set(re.findall(r"export const (\w+)Document =", types))
    flags = [f"--{name}" for name in STRICT]
    where = ["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2023", "--lib", "es2023"]
    client = str(ROOT / "tests" / "node" / "strict_client.ts")
    passes("node_modules/.bin/tsc", "--noEmit", "--ignoreConfig", "--skipLibCheck", *flags, *where, client, folder=CHAT)


def documents(example: Path) -> str:
    return "\n".join(path.read_text() for path in example.glob("src/**/*.graphql"))


def test_every_document_is_in_an_example_that_compiles() -> None:
    found = {path for path in ROOT.glob("examples/**/*.graphql") if "node_modules" not in path.parts}
    assert found == {path for example in EXAMPLES for path in example.glob("src/**/*.graphql")}
