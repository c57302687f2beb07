"""The Agent File: a versioned agent template in YAML or JSON (AMS contract)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

import orjson
import yaml

from app.embedded.state import Json

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?\Z"
)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_REQUIRED: dict[str, type] = {"template": dict, "compat": dict, "engine": dict, "persona": dict}
_TEXTS = (
    ("template", "id"),
    ("template", "name"),
    ("template", "version"),
    ("engine", "model"),
    ("engine", "embedding"),
    ("persona", "system_prompt"),
)
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")
_STEPS = {"json_patch": ("patch", list), "script": ("script", dict)}
_OPERATIONS = frozenset({"add", "replace", "remove"})


@total_ordering
class Version:
    """The version of a template, ordered by SemVer 2.0.0. An invalid text raises ValueError."""

    def __init__(self, text: str) -> None:
        match = _SEMVER.match(text)
        if match is None:
            raise ValueError(text)
        numbers, pre = tuple(int(part) for part in match.group(1, 2, 3)), match[4]
        self._key = (*numbers, pre is None, [_identifier(part) for part in (pre or "").split(".")])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(str(self._key))


def _identifier(part: str) -> tuple[bool, int, str]:
    """Return a sort key that puts numbers before words (SemVer 2.0.0, section 11)."""
    return (False, int(part), "") if part.isdecimal() else (True, 0, part)


def is_version(text: object) -> bool:
    """Return whether a text is a valid version."""
    return isinstance(text, str) and _SEMVER.match(text) is not None


@dataclass(frozen=True)
class AgentFile:
    """A parsed Agent File. ``content`` is valid only if ``errors`` is empty."""

    source: str
    format: str
    content: Json
    errors: list[str]

    @property
    def template(self) -> Json:
        """The Agent File's ``template`` section."""
        template: Json = self.content["template"]
        return template

    @property
    def checksum(self) -> str:
        """The checksum of the Agent File's text."""
        return checksum_of(self.source)


MAX_NODES = 100_000
MAX_DEPTH = 100
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's safe loader, in C if available. The loader in Python is many times slower."""


def checksum_of(source: str) -> str:
    """Return a text's checksum in AMS's format."""
    return f"sha256:{hashlib.sha256(source.encode()).hexdigest()}"


def read(source: str) -> AgentFile:
    """Parse and check an Agent File."""
    form = "json" if source.lstrip().startswith("{") else "yaml"
    try:
        loaded = orjson.loads(source) if form == "json" else _yaml(source)
        content = orjson.loads(orjson.dumps(loaded, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        return AgentFile(source, form, {}, [f"not valid {form.upper()}: {text[:300]}"])
    if not isinstance(content, dict):
        return AgentFile(source, form, {}, ["an Agent File is a mapping"])
    return AgentFile(source, form, content, _problems(content))


def _yaml(source: str) -> Any:
    """Parse YAML. Raises yaml.YAMLError if the text is invalid, too deep, or too large after aliases are expanded."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    size = 0
    for event in yaml.parse(source, _Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = size - before
            continue
        if isinstance(event, yaml.NodeEvent):
            size += sizes.get(event.anchor or "", MAX_NODES) if isinstance(event, yaml.AliasEvent) else 1
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, size - 1))
        elif isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            sizes[event.anchor] = 1
        if size > MAX_NODES or len(opened) > MAX_DEPTH:
            raise yaml.YAMLError("the document is too large or nested too deeply")
    return yaml.load(source, _Loader)  # noqa: S506 - both loaders are safe


def required_variables(content: Json) -> list[str]:
    """Return the names of an Agent File's required variables."""
    schema = content["persona"].get("variables_schema") or {}
    return [str(name) for name in schema.get("required") or []]


def prompt_of(content: Json, *, agent_name: str, variables: Json) -> str:
    """Return an Agent File's system prompt. Known variables are replaced by their values."""
    values = {"agent_name": agent_name, **variables}
    prompt = str(content["persona"]["system_prompt"])
    return _VARIABLE.sub(lambda match: str(values.get(match[1], match[0])), prompt)


def _problems(content: Json) -> list[str]:
    found = [] if content.get("af_version") else ["af_version is missing"]
    for name, kind in _REQUIRED.items():
        if name not in content:
            found.append(f"{name} is missing")
        elif not isinstance(content[name], kind):
            found.append(f"{name} must be a mapping")
    for section, name in _TEXTS:
        if isinstance(content.get(section), dict) and not _is_text(content[section].get(name)):
            found.append(f"{section}.{name} is missing or no text")
    template = content.get("template")
    if isinstance(template, dict):
        found += _template_problems(template)
    persona = content.get("persona")
    if isinstance(persona, dict) and not isinstance(persona.get("variables_schema") or {}, dict):
        found.append("persona.variables_schema must be a mapping")
    return [*found, *_migration_problems(content.get("migrations") or [])]


def _template_problems(template: Json) -> list[str]:
    found = []
    if _is_text(template.get("version")) and not is_version(template["version"]):
        found.append(f"template.version {template['version']!r} is not SemVer")
    if _is_text(template.get("id")) and not _ID.match(template["id"]):
        found.append("template.id must be made of a-z, 0-9, dot, dash and underscore")
    return found


def _migration_problems(migrations: Any) -> list[str]:
    if not isinstance(migrations, list):
        return ["migrations must be a list"]
    found = []
    for number, migration in enumerate(migrations):
        path = f"migrations[{number}]"
        if not isinstance(migration, dict):
            found.append(f"{path} must be a mapping")
            continue
        found += [f"{path}.{end} is not SemVer" for end in ("from", "to") if not is_version(migration.get(end))]
        steps = migration.get("steps") or []
        if not isinstance(steps, list):
            found.append(f"{path}.steps must be a list")
            continue
        found += [problem for n, step in enumerate(steps) for problem in _step_problems(f"{path}.steps[{n}]", step)]
    return found


def _step_problems(path: str, step: Any) -> list[str]:
    kind = step.get("type") if isinstance(step, dict) else None
    if kind not in _STEPS:
        return [f"{path}.type must be one of {', '.join(_STEPS)}"]
    name, form = _STEPS[kind]
    if not isinstance(step.get(name), form):
        return [f"{path}.{name} is missing or of another type"]
    if kind == "script":
        return []
    return [
        f"{path}.patch[{n}] must have op ({', '.join(sorted(_OPERATIONS))}) and path"
        for n, one in enumerate(step["patch"])
        if not (isinstance(one, dict) and one.get("op") in _OPERATIONS and str(one.get("path", "")).startswith("/"))
    ]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
