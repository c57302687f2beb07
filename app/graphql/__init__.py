"""Serves GraphQL: parses, validates and executes documents over HTTP and WebSocket."""
