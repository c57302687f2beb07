"""How the graph is answered: access rules, loaders, streams. Records in, records out; no GraphQL type."""
