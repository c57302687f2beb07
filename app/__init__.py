"""The process and its endpoints: settings, composition, sign-in, limits, GraphQL transports, REST, health, metrics."""
