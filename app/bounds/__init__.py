"""Every bound on what a client can send, hold or receive."""
