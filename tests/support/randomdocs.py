"""Random GraphQL documents for a small schema, most of them almost valid, so that every rule has cases."""

from __future__ import annotations

from random import Random

from graphql import build_schema

SCHEMA = build_schema("""
directive @cached(seconds: Int! = 3, tag: String) repeatable on FIELD | QUERY | FRAGMENT_SPREAD | VARIABLE_DEFINITION
enum Colour { RED GREEN }
input Filter { text: String! tags: [String!] colour: Colour inner: Filter one: Choice }
input Choice @oneOf { a: Int b: String }
interface Named { name: String self: Named }
interface Sized { size: Int! }
type Cat implements Named & Sized {
  name: String size: Int! self: Cat friends(first: Int, named: Named2): [Cat!]! x: Int
}
type Dog implements Named & Sized { name: String size: Int! self: Dog friends(first: Int): [Animal] x: String }
type Fish implements Named { name: String self: Fish x: [Int] colour: Colour }
input Named2 { name: String = "x" }
union Animal = Cat | Dog | Fish
type Query {
  named(id: ID!): Named
  animals(filter: Filter, first: Int = 3, ids: [ID!]): [Animal!]!
  cat: Cat
  dog: Dog
  count(colour: Colour): Int
  sized: [Sized]
}
type Mutation { rename(id: ID!, name: String): Cat }
type Subscription { ticks: Int added(colour: Colour): Animal }
""")

_FIELDS = {
    "Query": ["named", "animals", "cat", "dog", "count", "sized", "__typename", "__schema"],
    "Mutation": ["rename"],
    "Subscription": ["ticks", "added"],
    "Named": ["name", "self", "__typename"],
    "Sized": ["size"],
    "Cat": ["name", "size", "self", "friends", "x"],
    "Dog": ["name", "size", "self", "friends", "x"],
    "Fish": ["name", "self", "x", "colour"],
    "Animal": ["__typename"],
    "__Schema": ["types", "queryType"],
    "__Type": ["name", "kind", "fields", "ofType", "possibleTypes"],
    "__Field": ["name", "type"],
}
_INNER = {
    "named": "Named",
    "animals": "Animal",
    "cat": "Cat",
    "dog": "Dog",
    "sized": "Sized",
    "rename": "Cat",
    "added": "Animal",
    "__schema": "__Schema",
    "types": "__Type",
    "queryType": "__Type",
    "fields": "__Field",
    "type": "__Type",
    "ofType": "__Type",
    "possibleTypes": "__Type",
}
_OBJECTS = {
    "Named": {"Cat", "Dog", "Fish"},
    "Sized": {"Cat", "Dog"},
    "Animal": {"Cat", "Dog", "Fish"},
    **{one: {one} for one in ("Cat", "Dog", "Fish", "Query")},
}
_NEAR = {one: {other for other in _OBJECTS if _OBJECTS[one] & _OBJECTS[other]} for one in _OBJECTS}
_TYPES = ["Cat", "Dog", "Fish", "Named", "Sized", "Animal", "Query"]
_NEEDS = {"named": "id: 1", "rename": "id: 1"}
_ARGUMENTS = {
    "animals": ["first: 1", "first: 2", "first: $n", "ids: [1, $i]", "filter: {text: $s, tags: [$s]}", "filter: {}"],
    "friends": ["first: 1", "first: $n", 'named: {name: "a"}', "named: {name: 1}"],
    "count": ["colour: RED", "colour: $c", "colour: 3", "colour: RAD"],
    "added": ["colour: GREEN"],
    "rename": ['name: "é"', 'name: """é"""', "name: null"],
}
_VARIABLES = ["$n: Int", "$n: Int! = 3", "$i: ID!", "$i: ID", "$s: String!", "$c: Colour", "$c: Color", "$z: Cat"]
_DIRECTIVES = ["@include(if: true)", "@skip(if: $b)", "@cached", "@cached(seconds: null)", "@nope", "@cached(sec: 1)"]


class RandomDocument:
    """A random document.

    Args:
        random: the source of randomness.
        mistakes: the probability of a mistake, from 0 to 1.
    """

    def __init__(self, random: Random, *, mistakes: float) -> None:
        self._random = random
        self._mistakes = mistakes
        self._fragments = {f"F{n}": random.choice(_TYPES[:-1]) for n in range(random.randint(0, 4))}
        self._used: set[str] = set()

    def text(self) -> str:
        """Return the document as text."""
        operations = [self._operation(n) for n in range(self._random.choice([1, 1, 1, 2]))]
        fragments = [
            self._fragment(name, kind) for name, kind in self._fragments.items() if name in self._used or self._wrong()
        ]
        return " ".join([*operations, *fragments])

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _wrong(self) -> bool:
        return self._chance(self._mistakes)

    def _operation(self, number: int) -> str:
        kind, root = self._random.choice(
            [*[("query", "Query")] * 6, ("mutation", "Mutation"), ("subscription", "Subscription")]
        )
        variables = "($n: Int $i: ID! $s: String! $c: Colour $b: Boolean!)"
        if self._wrong():
            variables = "(" + " ".join(self._random.choices(_VARIABLES, k=2)) + ")"
        name = f"Q{number if not self._wrong() else 0}"
        used = "animals(first: $n ids: [$i] filter: {text: $s, colour: $c}) @skip(if: $b) { __typename }"
        if root != "Query" or self._wrong():
            return f"{kind} {name} {self._set(root, 0)}"
        return f"{kind} {name} {variables} {{ u: {used} {self._set(root, 0)[1:]}"

    def _fragment(self, name: str, kind: str) -> str:
        later = [other for other in self._fragments if other > name]
        return f"fragment {name} on {kind if not self._wrong() else 'Cot'} {self._set(kind, 1, later)}"

    def _set(self, kind: str, depth: int, fragments: list[str] | None = None) -> str:
        known = list(self._fragments) if fragments is None or self._wrong() else fragments
        count = self._random.randint(1, 4 if depth < 4 else 2)
        return "{ " + " ".join(self._selection(kind, depth, known) for _ in range(count)) + " }"

    def _selection(self, kind: str, depth: int, fragments: list[str]) -> str:
        near = _TYPES if self._wrong() else [one for one in _TYPES if one in _NEAR.get(kind, (kind,))]
        if depth < 5 and near and self._chance(0.25):
            on = self._random.choice(near)
            condition = "" if self._chance(0.3) else f" on {on}"
            return f"...{condition}{self._directives()} {self._set(on if condition else kind, depth + 1, fragments)}"
        fragments_near = [name for name in fragments if self._fragments[name] in near]
        if fragments_near and self._chance(0.4):
            name = self._random.choice(fragments_near)
            self._used.add(name)
            return f"...{name}{self._directives()}"
        return self._field(kind, depth, fragments)

    def _field(self, kind: str, depth: int, fragments: list[str]) -> str:
        of = kind if not self._wrong() else self._random.choice(list(_FIELDS))
        name = self._random.choice(_FIELDS[of]) if not self._wrong() else "nmae"
        inner = (
            _INNER.get(name)
            or ({"self": kind}.get(name))
            or ({"Cat": "Cat"}.get(kind, "Animal") if name == "friends" else None)
        )
        if inner and depth > 5 and not self._wrong():
            name, inner = "__typename", None
        alias = self._random.choice(["a: ", "b: "]) if self._chance(0.25) else ""
        given = [_NEEDS[name]] if name in _NEEDS and not self._wrong() else []
        if name in _ARGUMENTS and self._chance(0.3):
            given.append(self._random.choice(_ARGUMENTS[name] if self._wrong() else _ARGUMENTS[name][:2]))
        arguments = f"({', '.join(given)})" if given else ""
        selections = self._set(inner, depth + 1, fragments) if bool(inner) != self._wrong() and inner else ""
        return f"{alias}{name}{arguments}{self._directives()} {selections}".strip()

    def _directives(self) -> str:
        return (
            f" {self._random.choice(_DIRECTIVES if self._wrong() else _DIRECTIVES[:1])}" if self._chance(0.06) else ""
        )
