"""Compare the output of an example with the answer that its page shows.

The answer is the block after the example. ``…`` matches any characters within a text or line, any JSON value except
null, any further items at the end of a JSON list, and any lines on a line of its own. JSON objects may have more
fields. Without an answer, the example must succeed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ELLIPSIS = "…"
_BARE = re.compile(r'("(?:\\.|[^"\\])*")|…')
_TEXT_OR_DATA = re.compile(r"^(?:data: ?)?(\{.*\})\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Output:
    """The result of an example. ``statuses`` are those of its HTTP answers, if known."""

    text: str
    exit_code: int = 0
    statuses: tuple[int, ...] = ()
    stderr: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer on a page. ``language`` is ``json`` or ``text``."""

    language: str
    text: str


def faults(output: Output, answer: Answer | None) -> list[str]:
    """List the faults of an output."""
    found = []
    if output.exit_code != 0:
        found.append(f"exit status {output.exit_code}")
    found += [f"HTTP status {status}" for status in output.statuses if not 200 <= status < 300]
    if "Traceback (most recent call last)" in output.text + output.stderr:
        found.append("a traceback")
    expected = set() if answer is None else {fault for one in _documents(answer.text) for fault in _failures(one)}
    seen = {fault for one in _documents(output.text) for fault in _failures(one)}
    found += [f"{fault}, which the page does not show" for fault in sorted(seen - expected)]
    if answer is not None:
        difference = (_json_difference if answer.language == "json" else text_difference)(answer.text, output.text)
        found += [difference] if difference else []
    return found


def _failures(value: Any) -> Iterator[str]:
    """Yield the failures in a document: errors of a request, payload, stream or ``/v1`` answer."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name in {"errors", "error"} and one:
                yield name
            elif name == "outcome" and one in {"FAILED", "CANCELLED"}:
                yield f"outcome {one}"
            yield from _failures(one)
    elif isinstance(value, list):
        for one in value:
            yield from _failures(one)


def _documents(text: str) -> list[Any]:
    """Return the JSON of a text: the whole text, or the objects on lines of their own, as in an event stream."""
    whole = _parsed(text)
    if isinstance(whole, dict | list):
        return [whole]
    return [one for line in _TEXT_OR_DATA.findall(text) if (one := _parsed(line)) is not None]


def _parsed(text: str) -> Any:
    try:
        return json.loads(_BARE.sub(lambda found: found[1] or f'"{ELLIPSIS}"', text))
    except json.JSONDecodeError:
        return None


def _json_difference(shown: str, text: str) -> str | None:
    whole = _parsed(shown)
    if whole is not None:
        actual = _parsed(text)
        return f"no JSON: {text[:500]!r}" if actual is None else json_difference(whole, actual)
    lines = [line for line in shown.splitlines() if line.strip()]
    return lines_difference(
        [ELLIPSIS if line.strip() == ELLIPSIS else _parsed(line) for line in lines], _documents(text)
    )


def lines_difference(shown: list[Any], actual: list[Any]) -> str | None:
    """Return the first shown document that is missing. A gap matches any documents."""
    at, gap = 0, False
    for one in shown:
        if one == ELLIPSIS:
            gap = True
            continue
        found = next((index for index in range(at, len(actual)) if json_difference(one, actual[index]) is None), None)
        if found is None or (found != at and not gap):
            there = actual[at] if at < len(actual) else "the end"
            return (
                f"{json.dumps(one, ensure_ascii=False)} does not come; instead: {json.dumps(there, ensure_ascii=False)}"
            )
        at, gap = found + 1, False
    return None if gap or at == len(actual) else f"more than what is shown: {actual[at:]}"


def json_difference(shown: Any, actual: Any, place: str = "the answer") -> str | None:
    """Return where a document differs from the shown one."""
    if shown == ELLIPSIS:
        return f"{place} is null" if actual is None else None
    if isinstance(shown, dict) and isinstance(actual, dict):
        if missing := shown.keys() - actual.keys():
            return f"{place} has no {sorted(missing)}"
        differences = (json_difference(one, actual[name], f"{place}.{name}") for name, one in shown.items())
    elif isinstance(shown, list) and isinstance(actual, list):
        open_ended = bool(shown) and shown[-1] == ELLIPSIS
        items = shown[:-1] if open_ended else shown
        if len(actual) < len(items) or (len(actual) > len(items) and not open_ended):
            return f"{place} has {len(actual)} items, not {len(items)}{' or more' if open_ended else ''}"
        differences = (json_difference(one, actual[index], f"{place}[{index}]") for index, one in enumerate(items))
    elif isinstance(shown, str) and isinstance(actual, str) and ELLIPSIS in shown:
        return (
            None if re.fullmatch(_pattern(shown, ".*?"), actual, re.DOTALL) else f"{place} is {actual!r}, not {shown!r}"
        )
    else:
        same = type(shown) is type(actual) and shown == actual
        return None if same else f"{place} is {actual!r}, not {shown!r}"
    return next(filter(None, differences), None)


def text_difference(shown: str, text: str) -> str | None:
    """Return where a text differs from the shown one."""
    lines = [line.rstrip() for line in shown.strip("\n").splitlines()]
    actual = "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == ELLIPSIS else _pattern(line, r"[^\n]*?") + r"\n" for line in lines
    )
    if re.fullmatch(pattern, actual):
        return None
    return f"printed:\n{text}\nshown:\n{shown}"


def _pattern(shown: str, gap: str) -> str:
    return gap.join(re.escape(part) for part in shown.split(ELLIPSIS))
