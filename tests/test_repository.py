from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
MODULES = [name for name in FILES if name.endswith(".py") and not name.startswith("tests/")]
TESTS = [name for name in FILES if name.endswith(".py") and name.startswith("tests/")]
OTHER_NAMES = {
    "tests/app/test_gated_heads.py": "of GatedConnection, with equal heads",
    "tests/app/test_bounded_packets.py": "of Connection, in an event loop for each example",
    "tests/app/test_shedding_load.py": "of Shedder and the lag of the loop together, simulated",
}
"""Files with other names, and the reason."""

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-uv.lock", "requirements-lettacode.lock"]
LOCKS += ["requirements-clients.lock", "requirements-clients-openai2.lock"]
LOCKS += [name for name in FILES if name.endswith("package-lock.json")]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_no_host(name: str) -> None:
    text = re.sub(r'"(funding|url)": (\[[^\]]*\]|.*)', "", (ROOT / name).read_text())
    assert not re.search(r"https?://|--index-url|--find-links|\"resolved\"", text)


def test_no_file_names_a_machines_folder_or_a_package_registry() -> None:
    words = "|".join(
        ["/wo" + "rk/", "/ro" + "ot/", "/Us" + "ers/", "pythonho" + "sted", "npm" + "js", "pypi" + r"\.org"]
    )
    assert [name for name in FILES if re.search(words.encode(), (ROOT / name).read_bytes())] == []


def test_no_file_has_an_unsolved_conflict() -> None:
    marks = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    assert [name for name in FILES if marks.search((ROOT / name).read_bytes())] == []


def test_the_image_listens_even_if_the_env_file_has_an_empty_host() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "HOST=" not in text
    assert 'CMD ["serve", "--host", "0.0.0.0"]' in text


def test_dependencies_are_locked_with_hashes() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if re.match(r"^[a-z0-9]", line)]
    assert packages
    assert all("==" in line and line.endswith("\\") for line in packages)


def test_no_test_module_is_imported_by_another() -> None:
    found = [name for name in TESTS if re.search(r"\b(from|import) +tests[\w.]*\.test_", (ROOT / name).read_text())]
    assert found == [], "what several tests use belongs to tests/support"


@pytest.mark.parametrize("room", ["app", "clients", "resolvers"])
def test_unit_tests_are_in_the_file_of_their_modules_name(room: str) -> None:
    modules = {name for path in MODULES if path.startswith(f"{room}/") for name in names_of(path)}
    tests = [name for name in TESTS if name.startswith(f"tests/{room}/test_") and name not in OTHER_NAMES]
    assert [name for name in tests if Path(name).stem.removeprefix("test_") not in modules] == []


def names_of(path: str) -> Iterator[str]:
    """Yield the names that a module's tests can have: of ``clients/litellm/chunks.py``, chunks and litellm_chunks."""
    parts = Path(path.removesuffix("/__init__.py")).with_suffix("").parts[1:]
    yield from ("_".join(parts[at:]) for at in range(len(parts)))


def test_modules_and_functions_stay_readable() -> None:
    assert [fault for name in MODULES for fault in hard_to_read(name, (ROOT / name).read_text())] == []


def hard_to_read(name: str, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > 350:
        yield f"{name}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
            yield f"{name}: {node.name} is too long"
        if isinstance(node, ast.Global):
            yield f"{name}:{node.lineno}: global"
