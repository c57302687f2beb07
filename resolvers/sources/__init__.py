"""Where the events of streams come from: turns of Letta, completions of LiteLLM."""
