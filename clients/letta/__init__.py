"""Letta: stateful agents, their conversations, memory and runs."""
