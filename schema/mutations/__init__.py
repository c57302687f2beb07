"""Mutations, one module per entity, with their inputs and payloads."""
