from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
PLUGIN = """
import pytest
from tests.support import capabilities
capabilities.CAPABILITIES["needs_node"] = ("node tests", lambda: False, "no Node.js")
def pytest_configure(config):
    for name in capabilities.CAPABILITIES:
        config.addinivalue_line("markers", name)
    config.pluginmanager.register(capabilities.Capabilities())
"""
TESTS = """
import pytest
def test_runs(): pass
@pytest.mark.needs_node
def test_needs(): pass
def test_leaves(): pytest.skip("for a reason of its own")
"""


@pytest.mark.parametrize(("require", "status"), [("", 0), ("1", 1)])
def test_skipped_tests_are_listed_and_can_fail_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, require: str, status: int
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", require)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the other plugins take half a second to import
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == status
    assert result.outlines[-1] == "not run: 1 node tests (no Node.js), 1 other tests (reasons above)"
