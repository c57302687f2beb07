from __future__ import annotations

import pytest

from resolvers.principal import Principal, Role
from resolvers.sessions import MAX_REVOKED, REVOCATION_SECONDS, Sessions


def user(session_id: str, key_id: str = "") -> Principal:
    return Principal(user_id="u", role=Role.USER, expires_at=0, session_id=session_id, key_id=key_id)


async def test_a_revocation_is_kept_longer_than_any_token() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    await sessions.revoke("a")
    now[0] = REVOCATION_SECONDS - 1
    assert sessions.is_revoked("a")
    assert not sessions.is_revoked("b")
    now[0] = REVOCATION_SECONDS
    assert not sessions.is_revoked("a")


@pytest.mark.bound("revoked-sessions")
async def test_the_least_recently_used_revocation_is_evicted() -> None:
    sessions = Sessions()
    for number in range(MAX_REVOKED):
        await sessions.revoke(str(number))
    assert sessions.is_revoked("0")
    await sessions.revoke("one more")
    assert sessions.is_revoked("0")
    assert not sessions.is_revoked("1")


async def test_a_revocation_ends_the_connections_of_its_session_alone() -> None:
    sessions, ended = Sessions(), list[str]()
    with (
        sessions.watched(user("a"), lambda: ended.append("first")),
        sessions.watched(user("a"), lambda: ended.append("second")),
        sessions.watched(user("b"), lambda: ended.append("other")),
        sessions.watched(user(""), lambda: ended.append("no session")),
    ):
        await sessions.revoke("a")
        assert sorted(ended) == ["first", "second"]
    await sessions.revoke("b")
    assert sorted(ended) == ["first", "second"]


async def test_a_token_without_a_session_is_never_revoked() -> None:
    sessions = Sessions()
    await sessions.revoke("")
    assert not sessions.is_revoked("")


async def test_a_connection_that_begins_after_the_revocation_ends_at_once() -> None:
    sessions, ended = Sessions(), list[str]()
    await sessions.revoke("a")
    with sessions.watched(user("a"), lambda: ended.append("late")):
        assert ended == ["late"]


def test_connections_end_when_their_key_is_removed() -> None:
    sessions, ended = Sessions(), list[str]()
    with (
        sessions.watched(user("a", "k1"), lambda: ended.append("first")),
        sessions.watched(user("b", "k2"), lambda: ended.append("second")),
    ):
        sessions.end_keys({"k1", "k3"})
    assert ended == ["first"]
