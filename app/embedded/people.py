"""The users of the embedded platform."""

from __future__ import annotations

ADA = "a0a0a0a0-1111-4111-8111-000000000001"
GRACE = "b0b0b0b0-2222-4222-8222-000000000002"
PEOPLE = {"ada": (ADA, "ada@example.com", "Ada"), "grace": (GRACE, "grace@example.com", "Grace")}
"""Each user's id, email and name."""
