from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from clients.letta.ids import UUID, is_letta_id

KINDS = ("agent", "conv", "run", "message", "block", "tool", "passage", "step")
ANY_ID = re.compile(rf"(?:{'|'.join(KINDS)})-{UUID}\Z")
VALID = "run-00000000-0000-4000-8000-00000000000f"

ids = st.builds(lambda kind, uuid: f"{kind}-{uuid}", st.sampled_from([*KINDS, "", "user"]), st.uuids())


@st.composite
def almost_ids(draw: st.DrawFn) -> str:
    """Return an id with one character changed, inserted or removed."""
    text = draw(ids)
    at, width = draw(st.integers(0, len(text))), draw(st.integers(0, 1))
    return text[:at] + draw(st.text(max_size=1)) + text[at + width :]


@given(st.one_of(ids, almost_ids(), st.text(max_size=50)), st.sampled_from([*KINDS, "user", ""]))
@example(VALID, "run")
@example(VALID + "\n", "run")
@example(VALID.upper(), "run")
@example(VALID.replace("f", "\N{FULLWIDTH DIGIT ONE}"), "run")
@example(VALID.replace("f", "\ud800"), "run")
@example(VALID.removeprefix("run"), "")
@example(VALID.replace("run", "user"), "user")
@example("", "run")
def test_an_id_is_valid_if_it_matches_the_pattern_and_has_the_prefix(text: str, kind: str) -> None:
    assert is_letta_id(text, kind) is (text.startswith(f"{kind}-") and ANY_ID.match(text) is not None)
