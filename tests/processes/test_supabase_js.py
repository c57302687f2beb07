"""``@supabase/supabase-js`` signs in with a project whose JWKS has an ES256 key."""

from __future__ import annotations

import pytest

from app import devtokens
from app.embedded.people import ADA
from tests.support.node import run_node
from tests.support.stack import embedded_stack
from tests.support.streaming import completion, expected
from tests.support.supabase import PASSWORD, supabase_project

pytestmark = [pytest.mark.needs_node, pytest.mark.timeout(60)]
TOKENS = 200


async def test_supabase_js_signs_in_and_a_stream_continues_after_its_token_expires() -> None:
    async with supabase_project() as project:
        project.sessions.lifetime_seconds = 1.0
        async with embedded_stack(supabase_url=project.url, stream_grace_seconds=0.3) as stack:
            [told] = await run_node(
                "supabase.mjs",
                url=stack.url,
                supabase=project.url,
                email="ada@example.com",
                password=PASSWORD,
                input=completion(stack, f"tokens={TOKENS} delay=0.02", onDisconnect="CONTINUE"),
                key="k",
            )
    assert told["user"] == ADA
    assert (told["http"], told["sse"]) == (f"user:{ADA}", True)
    assert told["models"]
    assert told["tokens"] > 1
    assert told["sockets"] > 1
    assert told["text"] == expected(TOKENS)
    assert (told["started"], told["ended"]) == (1, 1)


async def test_supabase_js_signs_in_at_the_development_issuer() -> None:
    async with embedded_stack() as stack:
        [told] = await run_node(
            "supabase.mjs",
            url=stack.url,
            supabase=stack.url,
            email="ada@example.com",
            password=devtokens.password(),
            input=completion(stack, "tokens=3 delay=0"),
            key="k",
        )
    assert (told["user"], told["http"], told["text"]) == (ADA, f"user:{ADA}", expected(3))
