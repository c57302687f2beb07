"""The server's HTTP and WebSocket connections for uvicorn, with limits on clients, heads and unread data."""
