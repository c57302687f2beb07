from __future__ import annotations

import asyncio
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app.audit import HIDDEN, MAX_LINES, MAX_SUBJECTS, OTHERS, Act, AuditTrail, Event, Sender
from app.audit_file import audit_logger
from app.logs import make_logger
from app.settings import Settings, SettingsError
from app.usage import UsageError
from clients.codes import Reason
from clients.errors import Forbidden, Overloaded, RateLimited, Unauthenticated
from clients.origin import Endpoint
from tests.support.settings import settings_of

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
INVALID = Unauthenticated("The token is not valid.", reason=Reason.TOKEN_INVALID)
OVER = RateLimited("You have exceeded a limit.", reason=Reason.RATE_LIMIT_LLM)


class Trail:
    """An audit trail and its lines."""

    def __init__(self, window: float = 60) -> None:
        self.out = io.StringIO()
        self.trail = AuditTrail(make_logger("INFO", self.out), window)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


def sender(address: str = "192.0.2.1", *, user: str | None = None) -> Sender:
    return Sender(Endpoint.V1, "r-1", address, address, user)


async def test_repeated_failures_of_one_address_are_counted_instead_of_logged() -> None:
    audit = Trail(window=0.001)
    for _ in range(MAX_LINES + 5):
        audit.trail.refused(INVALID, sender())
    audit.trail.refused(INVALID, sender("192.0.2.2"))
    assert len(audit.lines) == MAX_LINES + 1
    async with asyncio.timeout(5):
        while len(audit.lines) == MAX_LINES + 1:
            await asyncio.sleep(0.001)
    *_, last = audit.lines
    facts = {name: last[name] for name in ("event", "suppressed", "subject", "lines", "logger")}
    assert facts == {
        "event": "suppressed",
        "suppressed": "sign-in failed",
        "subject": "192.0.2.1",
        "lines": 5,
        "logger": "audit",
    }
    audit.trail.refused(INVALID, sender())
    assert audit.lines[-1]["event"] == "sign-in failed"
    audit.trail.flush()


async def test_the_number_of_lines_is_bounded_even_if_each_failure_has_another_address() -> None:
    audit = Trail()
    for number in range(MAX_SUBJECTS + 50):
        audit.trail.refused(INVALID, sender(f"192.0.{number // 256}.{number % 256}"))
    assert len(audit.lines) == MAX_SUBJECTS + MAX_LINES
    audit.trail.flush()
    assert (audit.lines[-1]["subject"], audit.lines[-1]["lines"]) == (OTHERS, 50 - MAX_LINES)


async def test_limits_of_users_and_addresses_are_logged_and_overload_is_not() -> None:
    audit = Trail()
    audit.trail.refused(OVER, sender(user=UUID))
    audit.trail.refused(OVER, sender())
    audit.trail.refused(Overloaded("The gateway is overloaded.", reason=Reason.BUSY), sender())
    audit.trail.refused(Forbidden("You may not.", reason=Reason.ROLE), sender())
    audit.trail.refused(None, sender())
    assert [(one["event"], one.get("user"), one.get("address"), one["limit"]) for one in audit.lines] == [
        ("limit", UUID, None, "RATE_LIMIT_LLM"),
        ("limit", None, "192.0.2.1", "RATE_LIMIT_LLM"),
    ]
    audit.trail.flush()


async def test_an_anonymous_users_sign_in_is_a_failure() -> None:
    audit = Trail()
    audit.trail.refused(Forbidden("Sign up.", reason=Reason.ANONYMOUS), sender())
    assert [(one["event"], one["reason"]) for one in audit.lines] == [("sign-in failed", "ANONYMOUS")]
    audit.trail.flush()


@pytest.mark.parametrize("text", ['1.2.3.4\n{"event": "mutation"}', "x" * 65, "unix socket", "\x1b[2J"])
async def test_a_forged_address_is_not_logged(text: str) -> None:
    audit = Trail()
    audit.trail.refused(INVALID, sender(text))
    assert audit.lines[0]["address"] == HIDDEN
    audit.trail.flush()


@pytest.mark.parametrize(
    ("text", "if_ok", "if_failed"),
    [
        (f"agent-{UUID}", True, True),
        (f"conversation:agent-{UUID}", True, True),
        (UUID, True, True),
        ("template:support-bot@1.2.0", True, False),
        ("gpt-4o-mini", True, False),
        ("sk-1234567890abcdef", True, False),
        ("My secret prompt", False, False),
        ('x","role":"admin', False, False),
        ("a" * 129, False, False),
        (f"agent-{UUID}\n", False, False),
        ("", False, False),
    ],
)
def test_only_texts_that_can_be_nothing_but_ids_are_shown(text: str, if_ok: bool, if_failed: bool) -> None:
    act = Act(Event.MUTATION, "deleteAgent", {"agentId": text})
    act.failed("NOT_FOUND")
    assert act.shown() == {"agentId": text if if_failed else HIDDEN}
    act.succeeded({})
    assert act.shown() == {"agentId": text if if_ok else HIDDEN}


def test_a_file_is_private_and_can_be_rotated(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    log = audit_logger(str(path))
    log.info("first 100%")
    path.rename(old)
    log.info("second")
    assert [stat.S_IMODE(one.stat().st_mode) for one in (old, path)] == [0o600, 0o600]
    assert [json.loads(one.read_text())["event"] for one in (old, path)] == ["first 100%", "second"]


def test_a_file_whose_folder_has_gone_does_not_fail_the_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = audit_logger(str(folder / "audit.log"))
    (folder / "audit.log").unlink()
    folder.rmdir()
    log.info("lost")
    log.info("lost too")
    assert caplog.messages == [f"AUDIT_LOG: {folder}/audit.log cannot be written: No such file or directory"]
    folder.mkdir()
    log.info("written")
    assert caplog.messages[1:] == ["AUDIT_LOG can be written again: up to 2 lines are missing"]
    log.info("written too")
    assert len(caplog.messages) == 2
    assert [json.loads(line)["event"] for line in (folder / "audit.log").read_text().splitlines()] == [
        "written",
        "written too",
    ]


def test_a_full_disk_is_reported_once(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    log = audit_logger("/dev/full")
    for _ in range(3):
        log.info("lost")
    assert caplog.messages == ["AUDIT_LOG: /dev/full cannot be written: No space left on device"]
    assert capsys.readouterr().err == ""


def test_a_pipe_without_a_reader_stops_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe cannot be opened: No such device or address\."):
        audit_logger(str(tmp_path / "pipe"))


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^AUDIT_LOG: .* cannot be opened: Is a directory\. Set another file\.$"):
        audit_logger(str(tmp_path))


@pytest.mark.parametrize("text", ["audit.log", "stdout", "./audit.log", "true"])
def test_a_place_that_is_not_absolute_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^AUDIT_LOG: must be on, off, or the absolute path of a file$"):
        Settings.load(audit_log=text, _env_file=None)


@pytest.mark.parametrize(("text", "read"), [("ON", "on"), ("off", "off"), ("/var/log/audit.log", "/var/log/audit.log")])
def test_a_place_of_the_audit_log(text: str, read: str) -> None:
    assert settings_of(audit_log=text).audit_log == read


def test_the_audit_log_can_be_off(capsys: pytest.CaptureFixture[str]) -> None:
    audit_logger("off").warning("sign-in failed")
    audit_logger("on").info("mutation")
    assert json.loads(capsys.readouterr().out)["event"] == "mutation"
