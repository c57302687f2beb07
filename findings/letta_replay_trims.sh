#!/usr/bin/env bash
# Letta 0.16.8 replays a long background run from the middle, and says nothing about the missing frames.
#
# Guess before it was run: a client that resumes a background run with starting_after=0 gets every frame from seq_id 1, or
# an error if Letta no longer has the first frames.
# Seen: the writer trims the run's Redis stream to about 10,000 entries (MAXLEN ~), and the reader yields what is left. Of
# 12,000 frames the first 1,900 or so are missing; the reader yields neither an error nor an event for the gap. A client
# sees it only if it checks that the first seq_id follows its own.
#
# Output seen: "written 12000, replayed 10016, first seq_id 1986" (the numbers vary with Redis's trimming by blocks).
# Fails if the replay is complete, or begins with an error. Needs redis-server.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
venv/bin/uv pip install --quiet --python venv/bin/python letta==0.16.8 asyncpg==0.30.0 pgvector==0.4.1 redis==6.4.0 aiosqlite==0.21.0 sqlite-vec==0.1.7a2
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder" >redis.log &
server=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done
cat > try.py <<'PY'
import asyncio
import json
import re
import sys

from letta.data_sources.redis_client import AsyncRedisClient
from letta.server.rest_api.redis_stream_manager import RedisSSEStreamWriter, redis_sse_stream_generator

WRITTEN = 12_000


async def main() -> None:
    client = AsyncRedisClient(host="127.0.0.1", port=int(sys.argv[1]))
    writer = RedisSSEStreamWriter(client)
    await writer.start()
    for number in range(WRITTEN):
        frame = {"message_type": "assistant_message", "content": f"tok{number} ", "seq_id": None}
        await writer.write_chunk("run-1", f"data: {json.dumps(frame, separators=(',', ':'))}\n\n")
    await writer.mark_complete("run-1")
    await writer.stop()
    frames = [frame async for frame in redis_sse_stream_generator(client, "run-1", starting_after=0)]
    first = re.search(r'"seq_id": ?(\d+)', frames[0])
    assert first, frames[0]
    print(f"written {WRITTEN}, replayed {len(frames)}, first seq_id {first[1]}")
    assert int(first[1]) > 1 and len(frames) < WRITTEN, "the replay is complete"


asyncio.run(main())
PY
HOME=$folder LETTA_DIR=$folder/letta venv/bin/python try.py "$port"
