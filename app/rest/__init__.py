"""The REST door: OpenAI's API for SDKs at ``/v1``, and for Letta's own calls at a user's proxy."""
