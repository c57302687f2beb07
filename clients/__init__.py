"""How the rest of the world is reached: AMS, Letta, LiteLLM, Supabase, Redis, each behind one guard."""
