"""The process and its doors: settings, composition, sign-in, limits, GraphQL transports, REST, health, metrics."""
