"""The server's connections: HTTP and WebSocket for uvicorn, with limits on clients, heads and unread data."""
