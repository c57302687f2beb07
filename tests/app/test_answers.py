from __future__ import annotations

import asyncio

from app.graphql.answers import PACED_FIELDS, FieldPacer


async def test_a_pacer_with_room_does_not_wait() -> None:
    pacer = FieldPacer()
    pacer.take(PACED_FIELDS)
    waiting = asyncio.create_task(pacer.wait())
    await asyncio.sleep(0)
    assert waiting.done()


async def test_a_pacer_is_empty_again_in_the_next_iteration() -> None:
    pacer = FieldPacer()
    for _ in range(3):
        pacer.take(PACED_FIELDS + 1)
        assert pacer.is_full
        await asyncio.sleep(0)
        assert not pacer.is_full


async def test_concurrent_answers_take_at_most_about_one_share_per_iteration() -> None:
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


async def test_a_cancelled_answer_does_not_block_the_others() -> None:
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
