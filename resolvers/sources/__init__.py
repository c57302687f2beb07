"""The sources of streams: turns of Letta, and completions of LiteLLM."""
