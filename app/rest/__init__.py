"""The REST endpoints: OpenAI's API for SDKs at ``/v1``, and for Letta's model calls at a user's proxy."""
