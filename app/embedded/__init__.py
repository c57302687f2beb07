"""The embedded platform: small versions of AMS, Letta and LiteLLM on loopback sockets."""
