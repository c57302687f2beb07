"""The embedded Supabase Auth: signs users in with a password, and publishes the keys that verify access tokens."""

from app.embedded.supabase.service import EmbeddedSupabase
from app.embedded.supabase.signing import SigningKey

__all__ = ["EmbeddedSupabase", "SigningKey"]
