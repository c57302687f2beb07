from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.signin.keys import MAX_KEYS, MAX_RSA_BITS, MIN_RSA_BITS, public_keys
from app.signin.token import Token
from tests.support.supabase import encoded, key_pair
from tests.support.token_kinds import ED, ES, JWKS, RS, SECOND


def test_only_usable_keys_of_a_set_are_taken() -> None:
    assert {key_id: key.algorithm for key_id, key in public_keys(JWKS).items()} == {
        one.jwk["kid"]: one.algorithm for one in (ES, RS, ED, SECOND)
    }


def test_the_first_of_two_keys_with_one_id_is_taken() -> None:
    twice = [ES.jwk, SECOND.jwk | {"kid": ES.jwk["kid"]}]
    [key] = public_keys(twice).values()
    assert key.claims(Token(ES.token({"a": 1}))) == {"a": 1}


@pytest.mark.bound("issuer-keys")
def test_more_keys_than_a_project_has_are_ignored() -> None:
    many = [ES.jwk | {"kid": str(number)} for number in range(MAX_KEYS + 1)]
    assert list(public_keys(many)) == [str(number) for number in range(MAX_KEYS)]


def test_a_private_key_in_a_set_is_read_as_public() -> None:
    private = ES.private.private_numbers().private_value.to_bytes(32, "big")
    [key] = public_keys([ES.jwk | {"d": private.hex()}]).values()
    assert key.claims(Token(ES.token({}))) == {}


def test_rsa_keys_that_are_too_short_or_too_long_are_ignored() -> None:
    assert RS.private.key_size == MIN_RSA_BITS
    assert public_keys([key_pair("RS256", "short", bits=MIN_RSA_BITS - 8).jwk]) == {}
    assert public_keys([RS.jwk | {"n": encoded(b"\xff" * (MAX_RSA_BITS // 8 + 1)).decode()}]) == {}


ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([[], {}, "verify"])
)


@given(st.sampled_from([ES, RS, ED]), st.sampled_from([*ES.jwk, "n", "e", "d", "p"]), ODD | st.lists(ODD, max_size=2))
def test_any_change_to_a_key_makes_it_unusable_or_leaves_it_bound_to_its_algorithm(
    key: Any, name: str, value: Any
) -> None:
    for found in public_keys([key.jwk | {name: value}]).values():
        assert found.algorithm == key.algorithm
