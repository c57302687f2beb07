"""OpenAI's Responses API: ids, owners, models without this API, and requests."""
