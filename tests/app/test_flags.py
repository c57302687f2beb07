"""Flags and inboxes of connections, and their waiters."""

from __future__ import annotations

import asyncio

import pytest

from app.flags import Flag, Inbox

pytestmark = [pytest.mark.timeout(10), pytest.mark.asyncio]


async def test_a_flag_wakes_all_waiters_even_if_it_is_cleared_at_once() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    flag.set()
    flag.clear()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert not flag.is_set()


async def test_a_flag_that_is_set_is_not_waited_for() -> None:
    assert await Flag(is_set=True).wait()


async def test_a_cancelled_waiter_does_not_block_the_others() -> None:
    flag = Flag()
    first, second = (asyncio.create_task(flag.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    flag.set()
    assert await second


async def test_an_inbox_gives_items_in_order_and_waits_for_more() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put_nowait(1)
    inbox.put_nowait(2)
    assert [await inbox.get(), await inbox.get()] == [1, 2]
    assert inbox.empty()
    getting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not getting.done()
    inbox.put_nowait(3)
    assert await getting == 3
