"""The gateway's process: settings, sign-in, limits, and the endpoints for GraphQL, REST, health and metrics."""
