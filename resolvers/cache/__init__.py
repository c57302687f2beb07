"""The cache of the services' records: what is cached, for how long, and when an answer says that a record is stale."""
