#!/usr/bin/env bash
# graphql-core 3.3.2 keeps container objects of every event of a subscription until the subscription ends.
#
# Guess before it was run: what is collected to execute one event is freed with the event; after a thousand events a
# subscription holds as many objects as after ten, give or take what the garbage collector has not seen yet.
# Seen: the executor of the subscription memoises the sub-fields of each selection by the identity of the collected root
# fields, which are collected anew for each event, and the copies made per event share that memo. So each event leaves
# objects behind, and a subscription that lasts for days grows without bound. A query, which executes once, is not affected.
#
# Output seen: "objects kept per event: more than 3" (10 for one level of sub-fields). Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check graphql-core==3.3.2
cat > try.py <<'PY'
import asyncio
import gc

from graphql import build_schema, parse, subscribe

SCHEMA = build_schema("type Query { a: Int } type Tick { n: Int } type Subscription { tick: Tick }")
WARM, EVENTS = 100, 1000


async def ticks():
    number = 0
    while True:
        number += 1
        yield {"tick": {"n": number}}


async def main():
    source = ticks()
    answers = subscribe(SCHEMA, parse("subscription { tick { n } }"), root_value={"tick": source},
                        subscribe_field_resolver=lambda *_: source)
    if asyncio.iscoroutine(answers) or asyncio.isfuture(answers):
        answers = await answers

    async def read(count):
        for _ in range(count):
            answer = await anext(answers)
            assert answer.errors is None and answer.data["tick"]["n"], answer
        gc.collect()
        return len(gc.get_objects())

    before = await read(WARM)
    kept = (await read(EVENTS) - before) / EVENTS
    print(f"{kept:.1f} objects kept per event")
    print("objects kept per event:", "more than 3" if kept > 3 else "none" if kept < 0.1 else "few")
    await answers.aclose()


asyncio.run(main())
PY
venv/bin/python try.py | tee seen
[ "$(tail -1 seen)" = "objects kept per event: more than 3" ]
