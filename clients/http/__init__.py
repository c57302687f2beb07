"""An HTTP/1.1 client on asyncio's protocols and httptools."""
