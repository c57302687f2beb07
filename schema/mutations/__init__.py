"""What can be done, a module per entity: inputs, payloads and the mutations that take and return them."""
