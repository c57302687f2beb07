"""The gateway: settings, sign-in, limits, and the endpoints for GraphQL, REST, health and metrics."""
