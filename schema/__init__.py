"""The GraphQL types, with one module for each entity. The modules have no I/O and no resolver bodies."""
