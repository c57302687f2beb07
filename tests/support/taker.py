"""A process that takes from a rate limit in Redis: ``python -m tests.support.taker URL LIMIT TAKERS``.

Prints how many charges were admitted.
"""

from __future__ import annotations

import asyncio
import sys

from clients.limiter import Budget, Charge
from clients.state.limits import RedisLimiter
from tests.support.state import connected

DAY = 86_400


async def main(url: str, limit: int, takers: int) -> None:
    async with connected(url) as connection:
        limiter = RedisLimiter(connection)
        charge = Charge(Budget("general", limit, DAY))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        verdicts = await asyncio.gather(*(limiter.take("ada", [charge]) for _ in range(takers)))
    print(sum(verdict.allowed for verdict in verdicts))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
