"""Several worker processes that serve one port, and their supervisor."""
