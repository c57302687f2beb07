"""Clients of the services behind the gateway: AMS, Letta, LiteLLM, Supabase and Redis."""
