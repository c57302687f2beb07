"""GraphQL types, one module per entity. No I/O and no resolver bodies."""
