"""Sources read the events of streams from Letta and LiteLLM."""
