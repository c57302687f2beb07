from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clients.state.names import PREFIX, PROBE, channel


@given(st.text(), st.text(), st.text(), st.text())
def test_different_parts_make_different_keys(tag: str, rest: str, other_tag: str, other_rest: str) -> None:
    key, other = PROBE.key(tag, rest), PROBE.key(other_tag, other_rest)
    assert (key == other) == ((tag, rest) == (other_tag, other_rest))
    assert key.startswith(f"{PREFIX}probe:{{")
    assert key.count("{") == key.count("}") == 1


def test_channels_belong_to_a_database() -> None:
    assert channel(1, "revoked") != channel(2, "revoked")
