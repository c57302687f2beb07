"""What can be asked: GraphQL types, one module per entity. No I/O and no bodies."""
