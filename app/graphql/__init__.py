"""GraphQL as a protocol: documents, execution, errors, and the transports that carry them."""
