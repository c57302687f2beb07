from __future__ import annotations

import asyncio

from app.graphql.answers import PACED_FIELDS, FieldPacer


async def test_a_turn_with_room_is_not_waited_for() -> None:
    pacer = FieldPacer()
    pacer.take(PACED_FIELDS)
    waiting = asyncio.create_task(pacer.wait())
    await asyncio.sleep(0)
    assert waiting.done()


async def test_what_is_taken_is_forgotten_with_the_turn() -> None:
    pacer = FieldPacer()
    for _ in range(3):
        pacer.take(PACED_FIELDS + 1)
        assert pacer.is_full
        await asyncio.sleep(0)
        assert not pacer.is_full


async def test_everybody_has_a_turn_and_no_turn_takes_much_more_than_its_share() -> None:
    pacer, taken, most = FieldPacer(), 0, 0
    over = asyncio.Event()

    async def answer() -> None:
        nonlocal taken
        for _ in range(10):
            await pacer.wait()
            pacer.take(1_000)
            taken += 1_000

    async def watch() -> None:
        nonlocal most
        seen = 0
        while not over.is_set():
            most, seen = max(most, taken - seen), taken
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(answer() for _ in range(50)))
    over.set()
    await watching
    assert taken == 500_000
    assert PACED_FIELDS <= most <= 2 * PACED_FIELDS + 2_000


async def test_who_leaves_while_waiting_keeps_nobody_waiting() -> None:
    pacer = FieldPacer()

    async def answer() -> None:
        pacer.take(PACED_FIELDS + 1)
        await pacer.wait()

    leaving, staying = (asyncio.create_task(answer()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving, staying])
    assert leaving.cancelled()
    assert staying.result() is None
