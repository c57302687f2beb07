"""The client of Letta, which runs stateful agents."""
