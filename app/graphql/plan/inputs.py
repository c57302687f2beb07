"""The inputs of resolvers: ``info`` objects and arguments. An execution makes them once for each field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from graphql import GraphQLResolveInfo

from app.graphql.executor import Executor
from app.graphql.plan.fields import Field, built_by


class Inputs(ABC):
    """Makes the inputs of resolvers, and caches the inputs for one execution."""

    __slots__ = ("_arguments", "_converted", "_infos", "_raw_infos")

    def __init__(self) -> None:
        self._arguments: dict[Field, dict[str, Any]] = {}
        self._converted: dict[Field, dict[str, Any]] = {}
        self._infos: dict[Field, Any] = {}
        self._raw_infos: dict[Field, GraphQLResolveInfo[Any]] = {}

    @property
    @abstractmethod
    def executor(self) -> Executor:
        """graphql-core's executor, which has the operation's variables and makes ``info`` objects."""

    def info(self, field: Field) -> Any:
        """Return the ``info`` argument of a field's resolver. All calls of one field share the object."""
        info = self._infos.get(field)
        if info is None:
            raw = self.raw_info(field)
            info = self._infos[field] = built_by(self.executor).config.info_class(_raw_info=raw, _field=field.declared)
        return info

    def raw_info(self, field: Field) -> GraphQLResolveInfo[Any]:
        """Return graphql-core's ``info`` for a field. All calls of a field share it, so ``path`` is ``None``."""
        info = self._raw_infos.get(field)
        if info is None:
            path: Any = None
            info = self.executor.build_resolve_info(field.definition, field.nodes, field.parent, path)
            self._raw_infos[field] = info
        return info

    def arguments(self, field: Field) -> dict[str, Any]:
        """Return a field's arguments, by GraphQL name. Raise GraphQLError if an argument is invalid."""
        found = self._arguments.get(field)
        if found is None:
            found = self._arguments[field] = field.arguments(self)
        return found

    def converted(self, field: Field) -> dict[str, Any]:
        """Return a field's arguments, by Python name. Raise an error if an argument is invalid."""
        found = self._converted.get(field)
        if found is None:
            found = self._converted[field] = field.converted(self)
        return found
