"""The embedded platform: AMS, Letta and LiteLLM in small, on loopback sockets. Imports no other room."""
