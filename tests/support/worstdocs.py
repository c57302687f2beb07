"""The most expensive documents to validate within the bounds on tokens and characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from app.graphql.lexer import MAX_BRACED_ESCAPES, MAX_CHARS, MAX_LINES
from app.graphql.shape import MAX_FRAGMENTS, MAX_OPERATIONS

TOKENS = 2_000

_LEAVES = ("id", "name", "description", "version", "createdAt")
_KINDS = ("Agent", "User", "Conversation", "Message")


def _repeated(text: Callable[[int], str], tokens: int, *, beside: int = 30) -> str:
    """Repeat a text of that many tokens up to the bound of a document, minus ``beside``."""
    return "".join(text(number) for number in range((TOKENS - beside) // tokens))


def _viewer(text: Callable[[int], str], tokens: int) -> str:
    return f"{{viewer{{{_repeated(text, tokens)}}}}}"


def _node(text: Callable[[int], str], tokens: int) -> str:
    return f"{{node(id:1){{{_repeated(text, tokens)}}}}}"


def _ids(text: str, tokens: int = 1) -> str:
    return f"{{nodes(ids:[{_repeated(lambda _: f' {text}', tokens)}]){{id}}}}"


def _combinations(width: int, levels: int = 5) -> str:
    """Return fragments that spread each next level under two names, so that many sets of fields merge."""
    random = Random(width)

    def spreads(level: int) -> str:
        names = [f"...F{level}x{other} " for other in range(width) if random.random() < 0.5]
        return "".join(names) or f"...F{level}x0 "

    def fragment(level: int, number: int) -> str:
        fields = "".join(f"{name}:defaultConversation{{agent{{{spreads(level + 1)}}}}}" for name in "ab")
        return f" fragment F{level}x{number} on Agent{{{fields}}}"

    inner = [fragment(level, number) for level in range(levels) for number in range(width)]
    last = [f" fragment F{levels}x{number} on Agent{{id name}}" for number in range(width)]
    return f"{{viewer{{agents{{nodes{{{''.join(f'...F0x{n} ' for n in range(width))}}}}}}}}}" + "".join([*inner, *last])


def _fragments(count: int, body: Callable[[int], str], kind: str = "User") -> str:
    return "".join(f" fragment F{number} on {kind}{{{body(number)}}}" for number in range(count))


def selections() -> Iterator[tuple[str, str]]:
    """Return named documents with many selections."""
    yield "one-field", f"{{{_repeated(lambda _: ' __typename', 1)}}}"
    yield "leaves", f"{{viewer{{agents{{nodes{{{_repeated(lambda n: f' {_LEAVES[n % 5]}', 1)}}}}}}}}}"
    yield "aliases", _viewer(lambda n: f" a{n}:id", 3)
    yield "arguments", _viewer(lambda n: f" a{n % 90}:agents(first:1){{totalCount}}", 11)
    yield "alike", _viewer(lambda _: " agents(first:1){totalCount}", 9)
    yield "conflicts", _viewer(lambda n: f" a{n % 30}:agents(first:{n}){{totalCount}}", 11)
    yield "conflicts-of-one", _viewer(lambda n: f" agents(first:{n}){{totalCount}}", 9)
    yield "levels", _viewer(lambda _: " agents{nodes{defaultConversation{agent{id}}}}", 13)
    yield "inline", _viewer(lambda _: " ...{id}", 4)
    yield "inline-empty", _viewer(lambda _: " ...{}", 3)
    yield "inline-nested", _viewer(lambda _: " ...{...{...{id}}}", 10)
    yield "inline-typed", _node(lambda n: f" ...on {_KINDS[n % 4]}{{id}}", 6)
    yield "inline-abstract", _node(lambda n: f" ...on Node{{...on {_KINDS[n % 4]}{{id}}}}", 11)
    yield "directives", _viewer(lambda _: " id@include(if:true)", 7)
    yield "directives-unknown", _viewer(lambda _: " id" + "@a" * 10, 21)
    yield "introspection", f"{{__schema{{types{{{_repeated(lambda _: ' name', 1)}}}}}}}"
    yield "introspection-again", f"{{__schema{{{_repeated(lambda _: ' types{name}', 4)}}}}}"
    yield "introspection-types", "{" + _repeated(lambda _: '__type(name:"A"){fields{type{fields{name}}}}', 19) + "}"
    yield "subscription", "subscription{" + _repeated(lambda n: f" a{n % 90}:stream(id:1){{cursor}}", 11) + "}"


def mistakes() -> Iterator[tuple[str, str]]:
    """Return named documents with many mistakes."""
    yield "unknown", f"{{{_repeated(lambda n: f' viewr{n}', 1)}}}"
    yield "unknown-long", f"{{{_repeated(lambda n: f' viewerrateLimitsplat{n:04}', 1)}}}"
    yield "unknown-arguments", _viewer(lambda n: f" agents(firs{n}:1){{totalCount}}", 9)
    yield "unknown-types", _viewer(lambda n: f" ...on RateLimitedAgentConver{n % 9}{{id}}", 6)
    yield "unknown-inputs", _created(f"{{{_repeated(lambda n: f' agentI{n}:1', 3)}}}")
    yield "inputs-twice", _created(f"{{{_repeated(lambda _: ' agentId:1', 3)}}}")
    yield "inputs-nested", _created("{input:" * 190 + "1" + "}" * 190)
    yield "undefined-variables", _viewer(lambda n: f" b{n % 40}:agents(first:$a{n}){{totalCount}}", 12)
    yield "lines", f"{{viewer{{{_repeated(lambda n: f'{chr(10) * 2}x{n}', 1)}}}}}"
    yield "far-lines", "{" + "\n" * (MAX_LINES - 10) + f"viewer{{{_repeated(lambda n: f' viewr{n}', 1)}}}}}"
    yield "far", f'{{node(id:"{"x" * (MAX_CHARS - 30_000)}"){{id}}{_repeated(lambda n: f" viewr{n}", 1)}}}'
    yield "cycle", "{viewer{...F0}}" + _fragments(190, lambda n: f"...F{(n + 1) % 190} ...F{(n + 7) % 190}")
    yield "numbers", _viewer(lambda _: f" agents(first:{'1' * 200}){{totalCount}}", 9)


def _created(given: str) -> str:
    return f"mutation{{createConversation(input:{given}){{errors{{message}}}}}}"


def definitions() -> Iterator[tuple[str, str]]:
    """Return named documents with many definitions."""
    spread = "".join(f"...F{number} " for number in range(190))
    yield "spreads", f"{{viewer{{{spread}}}}}" + _fragments(190, lambda _: "id")
    yield "bomb", "{viewer{...F0}}" + _fragments(59, lambda n: f"...F{n + 1} ...F{n + 1}") + "fragment F59 on User{id}"
    operations = "".join(f"query A{n}($a:Int){{viewer{{...F}}}}" for n in range(MAX_OPERATIONS))
    uses = "".join(f" b{n}:agents(first:$a){{totalCount}}" for n in range(90))
    yield "operations", f"{operations} fragment F on User{{{uses}}}"
    listeners = "".join(f"subscription A{n}{{...F}}" for n in range(MAX_OPERATIONS))
    fields = "".join(f" a{n}:stream(id:1){{cursor}}" for n in range(90))
    yield "subscriptions", f"{listeners} fragment F on Subscription{{{fields}}}"
    yield "unused", "{viewer{id}}" + _fragments(MAX_FRAGMENTS, lambda _: "id")
    for width in (3, 5, 7):
        yield f"combinations-{width}", _combinations(width)
    variables = "".join(f"$a{n}:RateLimitedAgentConversa " for n in range(200))
    yield "variables", f"query({variables}){{viewer{{id}}}}"


def literals() -> Iterator[tuple[str, str]]:
    """Return named documents with long or many literals, and with invalid tokens."""
    yield "strings", _ids('"a"')
    yield "integers", _ids("1")
    yield "floats", _ids("1.5")
    yield "enums", _ids("A")
    yield "objects", _ids("{}", 2)
    yield "lists", _ids("[]", 2)
    yield "nested", f"{{nodes(ids:{'[' * 190}{']' * 190}){{id}}}}"
    yield "comments", "{viewer{id}}" + "#\n" * (TOKENS - 20)
    room = MAX_CHARS - 100
    yield "comment", "{viewer{id}}#" + "x" * room
    yield "commas", f"{{viewer{{id}}{',' * room}}}"
    for name, text in {
        "string": "x" * room,
        "escapes": r"\n" * (room // 2),
        "unicode-escapes": r"\u0041" * (room // 6),
        "braced-escapes": r"\u{41}" * MAX_BRACED_ESCAPES,
    }.items():
        yield name, f'{{node(id:"{text}"){{id}}}}'
        yield f"{name}-wrong", f'{{viewer{{agents(first:"{text}"){{totalCount}}}}}}'
    for name, line in {"lines": "x", "indents": " "}.items():
        text = (line * (room // MAX_LINES - 1) + "\n") * (MAX_LINES - 2)
        yield f"block-{name}", f'{{node(id:"""{text}"""){{id}}}}'
        yield f"block-{name}-wrong", f'{{viewer{{agents(first:"""{text}"""){{totalCount}}}}}}'


def worst() -> dict[str, str]:
    """Return all documents by name."""
    return dict([*selections(), *mistakes(), *definitions(), *literals()])
