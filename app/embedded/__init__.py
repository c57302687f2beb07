"""A small, real stand-in for AMS, Letta and LiteLLM, served over loopback sockets. Imports no other room."""
