from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
MODULES = [name for name in FILES if name.endswith(".py") and not name.startswith("tests/")]


LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-uv.lock"]
LOCKS += [name for name in FILES if name.endswith("package-lock.json")]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_no_host(name: str) -> None:
    text = re.sub(r'"(funding|url)": (\[[^\]]*\]|.*)', "", (ROOT / name).read_text())
    assert not re.search(r"https?://|--index-url|--find-links|\"resolved\"", text)


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_machines_folder_or_a_package_registry(name: str) -> None:
    words = "|".join(
        ["/wo" + "rk/", "/ro" + "ot/", "/Us" + "ers/", "pythonho" + "sted", "npm" + "js", "pypi" + r"\.org"]
    )
    text = (ROOT / name).read_bytes()
    assert not re.search(words.encode(), text)


def test_an_env_file_with_an_empty_host_does_not_deafen_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "HOST=" not in text
    assert 'CMD ["serve", "--host", "0.0.0.0"]' in text


def test_dependencies_are_locked_with_hashes() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if re.match(r"^[a-z0-9]", line)]
    assert packages
    assert all("==" in line and line.endswith("\\") for line in packages)


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_stay_readable(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
        assert not isinstance(node, ast.Global)
