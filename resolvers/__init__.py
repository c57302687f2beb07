"""The code that resolves GraphQL fields: access checks, loaders and streams. This package has no GraphQL types."""
