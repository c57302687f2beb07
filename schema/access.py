"""Who may read a field: Apollo Federation's directives ``@authenticated`` and ``@requiresScopes``.

Every root field and every object type has one of these rules. ``schema.guards`` enforces the rules.
"""

from typing import TypeAlias

from strawberry.federation.schema_directives import Authenticated, RequiresScopes

from resolvers.principal import Scope

Access: TypeAlias = Authenticated | RequiresScopes
"""A rule of a field or of an object type."""

SIGNED_IN = Authenticated()
"""Every signed-in user may read the field."""

ADMIN = RequiresScopes(scopes=[[Scope.ADMIN.value]])
"""Only users with the scope ``admin`` may read the field."""

DEFINITIONS = '''
"""
Only signed-in users may read the field, or the fields of the type.
"""
directive @authenticated on ENUM | FIELD_DEFINITION | INTERFACE | OBJECT | SCALAR

"""
Only users with these scopes may read the field, or the fields of the type.
"""
directive @requiresScopes(
  """Sets of scopes. The user needs all scopes of at least one set."""
  scopes: [[String!]!]!
) on ENUM | FIELD_DEFINITION | INTERFACE | OBJECT | SCALAR
'''
"""The directives, as Apollo Federation defines them, but with strings as scopes.

Client generators refuse a schema with a scalar that they do not know, such as Apollo's ``federation__Scope``.
"""
