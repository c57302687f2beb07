"""Read the promised answers to faults, and print ``docs/resilience.md``: ``python -m tests.support.resilience``.

``resilience.csv`` has a row for each operation and fault. With ``--measure``, the module prints the measured rows
instead. Check each changed row before you copy it into the file.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.support.cells import OPERATIONS, Operation
from tests.support.faulting import FAULTS
from tests.support.faulttable import CellKey, Row, measured

DATA = Path(__file__).with_suffix(".csv")
HEADER = ("service", "operation", "fault", *Row._fields)

_NAMES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM", "supabase": "Supabase"}
_OPERATIONS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription", "v1": "`/v1`"}
_OPERATIONS["v1 streamed"] = "`/v1`, streamed"

_HEAD = """# Answers when a service fails

The tables list the answer that a client gets if an upstream call fails. A test injects each fault on a real connection, and
compares the answer with the table. In every case, the answer arrives before the request's deadline, and contains no text of the
service.

The tables apply if the cache has no record. Otherwise, a query gets [an older record](cache.md#stale-records) instead of an error, unless
the service answers with 429 or a redirect.

| fault | what the service does |
|---|---|
| refused | refuses the connection |
| slow connect | does not accept the connection within `CONNECT_TIMEOUT_SECONDS` |
| hang before headers | accepts the request, and does not answer |
| hang in body | sends half of the answer, and then nothing |
| cut | sends half of the answer, and then resets the connection |
| garbage | sends bytes that are not HTTP |
| 429 | refuses the request, without `Retry-After` |
| 500 | carries out the request, and answers with the status 500 |
| 503 | refuses the request with the status 503 and `Retry-After: 7` |
| huge | sends an answer that exceeds [the limit](limits.md#upstream-calls) |
| wrong type | sends HTML with the status 200 |
| wrong shape | sends JSON, or a stream's event, without the expected fields |
| redirect | answers with a redirect |
| drip | sends the answer so slowly that the timeout ends first |

The columns have these meanings:

- **HTTP**: the status of the HTTP response, for queries and mutations as `application/json`, and for subscriptions over SSE. A
  refusal over SSE has the status 200, too ([why](decisions/0028-refusals-in-the-clients-format.md)).
- **error**: `code` and `reason` in `extensions`. At `/v1`, these are the error's `type` and `code`. If a stream has begun, the
  error is in `StreamEnded`, or in the last event at `/v1`.
- **retry**: `retryable`. At `/v1`, the column shows whether OpenAI's SDKs repeat the request. The number is `retryAfterSeconds`.
- **calls**: how often the gateway makes the failing call. If the number is 3, the gateway has made
  [two retries](operating.md#retries).
- **the client gets**: the part of the answer that arrives. If other fields arrive, the error's `path` names the field that is
  null.
- **key**: what happens if the client repeats the request with the same key after the service works again.
  - *free*: the gateway carries out the request.
  - *found*: the gateway finds the first attempt's result in Letta, and sends nothing again.
  - *replayed*: the client gets the same answer again, and nothing is sent.
  - *unknown*: the client gets `OUTCOME_UNKNOWN`, and nothing is sent.

The tables are for closed breakers ([when a breaker opens](operating.md#when-an-upstream-fails)), and for faults that last. If a
fault is short, a retry of the gateway can succeed, and the client gets no error.
"""  # noqa: E501 - a page

_NOTES = {
    "ams": "AMS recognizes a repeated `createAgent` by the idempotency key, so a repetition creates no second agent.",
    "letta": "`/v1` does not call Letta.",
    "litellm": (
        "The gateway cannot query the result of an earlier call to LiteLLM. If LiteLLM may have carried out a call,\n"
        "the gateway makes no second call under the same key."
    ),
    "supabase": (
        "The gateway reads Supabase's keys in the background. Tokens whose key is known stay valid during each fault.\n"
        "The tables are for tokens whose key is not known."
    ),
}


def promised() -> dict[CellKey, Row]:
    """Return the rows of the data file."""
    with DATA.open(newline="") as file:
        lines = list(csv.reader(file))
    assert tuple(lines[0]) == HEADER
    return {(line[0], line[1], line[2]): Row(*line[3:]) for line in lines[1:]}


def page() -> str:
    """Return the text of ``docs/resilience.md``."""
    rows = promised()
    return "\n".join([_HEAD, *(line for service in OPERATIONS for line in _section(service, rows))])


def _section(service: str, rows: dict[CellKey, Row]) -> Iterator[str]:
    yield from (f"## {_NAMES[service]}", "", _NOTES[service], "")
    for operation in OPERATIONS[service]:
        yield from (f"**{_OPERATIONS[operation.name]}**: {operation.text}.", "")
        yield from _table(service, operation, rows)
        yield ""


def _table(service: str, operation: Operation, rows: dict[CellKey, Row]) -> Iterator[str]:
    key = " key |" if operation.has_key else ""
    yield f"| fault | HTTP | error | retry | calls | the client gets |{key}"
    yield "|---|---|---|---|---|---|" + ("---|" if key else "")
    of_fault = {fault: rows[service, operation.name, fault] for fault in FAULTS}
    for row, faults in groupby(sorted(FAULTS, key=lambda fault: _place(of_fault, fault)), key=of_fault.__getitem__):
        last = f" {row.key} |" if key else ""
        after = f", {row.retry_after} s" if row.retry_after else ""
        error = " ".join(f"`{part}`" for part in (row.code, row.reason) if part) or "none"
        cells = (", ".join(faults), row.http, error, (row.retryable or "—") + after, row.calls, row.kept)
        yield f"| {' | '.join(cells)} |{last}"


def _place(of_fault: dict[str, Row], fault: str) -> int:
    """Return the place of the first fault with the same row."""
    return next(place for place, other in enumerate(FAULTS) if of_fault[other] == of_fault[fault])


async def _measured() -> dict[CellKey, Row]:
    found: dict[CellKey, Row] = {}
    for service in OPERATIONS:
        found |= await measured(service)
    return found


def _print_measured() -> None:
    found = asyncio.run(_measured())
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(HEADER)
    for service, operations in OPERATIONS.items():
        for operation in operations:
            out.writerows([service, operation.name, fault, *found[service, operation.name, fault]] for fault in FAULTS)


if __name__ == "__main__":
    _print_measured() if "--measure" in sys.argv[1:] else sys.stdout.write(page())
