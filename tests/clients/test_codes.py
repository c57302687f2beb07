"""The table of codes and reasons: the source raises all of it and nothing else, and a test expects each reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import app.main  # noqa: F401 - defines all kinds of errors
from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError

ROOT = Path(__file__).parents[2]
ROOMS = ("clients", "resolvers", "schema", "app")
REASONS: set[str] = set(Reason)
DECLARED = {(code, reason) for reason in Reason for code in reason.meanings}


def kinds(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


CODES: dict[str, set[ErrorCode]] = {
    **{kind.__name__: {kind.code} for kind in kinds()},
    "Excess": {ErrorCode.QUERY_TOO_COMPLEX},
    "TooManyError": {ErrorCode.QUERY_TOO_COMPLEX},
    "Shares": {ErrorCode.RATE_LIMITED, ErrorCode.OVERLOADED},
}
"""The codes of errors, by the name of the class or function that makes them."""

BY_ARGUMENT = {"StreamFailure", "request_error", "extensions"}
"""Functions and classes with the code as an argument."""


Function = ast.FunctionDef | ast.AsyncFunctionDef


def calls_in(node: ast.AST, around: Function | None = None) -> Iterator[tuple[ast.Call, Function | None]]:
    """The calls in a part of the source, with the functions around them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, around
        yield from calls_in(child, child if isinstance(child, Function) else around)


class Source(NamedTuple):
    module: ast.Module
    calls: list[tuple[ast.Call, Function | None]]


@cache
def sources() -> list[Source]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "embedded" not in path.parts]
    modules = [ast.parse(path.read_text()) for path in paths if path.name != "codes.py"]
    return [Source(module, list(calls_in(module))) for module in modules]


def members(node: ast.AST, enum: str = "Reason") -> set[str]:
    """The members of an enum that are named in a part of the source."""
    return {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == enum
    }


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def is_passed_on(value: ast.expr) -> bool:
    """Whether this is the reason that another object has."""
    return isinstance(value, ast.Attribute) and value.attr in {"reason", "_reason"}


def named_everywhere(name: str) -> set[str]:
    """The reasons of all arguments, parameters and variables of a name."""
    found: set[str] = set()
    for node in (node for source in sources() for node in ast.walk(source.module)):
        match node:
            case (
                ast.keyword(arg=bound, value=value)
                | ast.AnnAssign(target=ast.Name(id=bound), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=bound)], value=value)
            ) if bound == name:
                found |= members(value)
    return found


def reasons_of(source: Source, value: ast.expr, around: Function | None) -> set[str]:
    """The reasons that an expression can have in a function."""
    found = members(value)
    if found or around is None:
        return found
    arguments = [*around.args.args, *around.args.kwonlyargs]
    if isinstance(value, ast.Name) and value.id in {one.arg for one in arguments}:
        calls = [call for call, _ in source.calls if name_of(call) == around.name]
        passed = set().union(*(members(part) for call in calls for part in (*call.args, *call.keywords)))
        return passed | (named_everywhere(value.id) if value.id != "reason" else set())
    used = {one.id for one in ast.walk(around) if isinstance(one, ast.Name)}
    constants = [
        node.value
        for node in source.module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in used
    ]
    return members(around) | set().union(*map(members, constants))


def raised() -> set[tuple[ErrorCode, Reason]]:
    """The pairs of code and reason in the source."""
    found: set[tuple[ErrorCode, Reason]] = set()
    for source in sources():
        for call, around in source.calls:
            name = name_of(call)
            if name not in CODES and name not in BY_ARGUMENT:
                continue
            values = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
            values += [arg for arg in call.args if members(arg)]
            for value in values:
                if is_passed_on(value) or (around is not None and around.name == "request_error"):
                    continue
                names = reasons_of(source, value, around)
                assert names, f"no reason found in {ast.unparse(call)}"
                codes = CODES.get(name) or {ErrorCode[one] for one in members(call, "ErrorCode")}
                found |= {(code, Reason[one]) for code in codes for one in names}
        for node in ast.walk(source.module):
            if isinstance(node, ast.ClassDef) and node.name == "Shares":
                found |= {(code, Reason[one]) for code in CODES["Shares"] for one in members(node)}
    return found


def test_the_table_has_what_the_source_raises() -> None:
    found = raised()
    assert found - DECLARED == set(), "not in the table"
    assert DECLARED - found == set(), "not raised"


ABOUT_ERRORS = re.compile(r"(?<![a-z])(?<!status_)(code|reason|refus)", re.IGNORECASE)
"""What the names in a statement about an error begin with."""

WORDS = re.compile(r"[A-Z_]+(?: [A-Z_]+)*|[a-z_]+")


def own_parts(statement: ast.stmt) -> list[ast.AST]:
    """The expressions of a statement, without the statements inside it."""
    return [part for part in ast.iter_child_nodes(statement) if not isinstance(part, ast.stmt | ast.ExceptHandler)]


def expected() -> set[str]:
    """The reasons that tests expect: texts in statements that name a code or reason, or an error code beside them.

    Errors that a test makes itself do not count. At ``/v1``, the reason is the ``code`` in lower case.
    """
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for statement in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)):
            parts = [node for part in own_parts(statement) for node in ast.walk(part)]
            calls = [node for node in parts if isinstance(node, ast.Call) and name_of(node) in {*CODES, *BY_ARGUMENT}]
            made = {id(part) for call in calls for part in ast.walk(call)}
            texts = [one.value for one in parts if isinstance(one, ast.Constant) and id(one) not in made]
            words = {
                word
                for text in texts
                if isinstance(text, str) and WORDS.fullmatch(text)
                for word in text.upper().split()
            }
            reasons = words & REASONS
            if reasons and any(map(ABOUT_ERRORS.search, map(ast.unparse, own_parts(statement)))):
                found |= reasons
            found |= {reason for code, reason in DECLARED if {code, reason} <= words}
    return found


def test_a_test_expects_each_reason() -> None:
    assert REASONS - expected() == set()
