"""The embedded Supabase Auth: signs users in with a password, and publishes the keys that verify access tokens.

The package imports none of its modules, so that a command which only signs a token imports no server.
"""
