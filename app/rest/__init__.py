"""The REST endpoints, which serve OpenAI's API to users and to Letta."""
