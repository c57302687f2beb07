"""Ids of responses belong to one user and one key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import NotFound
from resolvers.responses.ids import ResponseIds

USER, KEY = "a0a0a0a0-1111-4111-8111-000000000001", "sk-of-ada"
OURS = ResponseIds(USER, KEY)
ids = st.text("abcXYZ019_-=.", min_size=1, max_size=40).map(lambda rest: f"resp_{rest}")
models = st.text(min_size=1, max_size=20)


@given(response_id=ids, model=models)
def test_an_id_is_opened_by_its_owner_alone(response_id: str, model: str) -> None:
    sealed = OURS.sealed(response_id, model)
    assert sealed.startswith("resp_")
    opened = OURS.opened(sealed)
    assert (opened.id, opened.model) == (response_id, model)
    for other in (ResponseIds(USER, "sk-other"), ResponseIds("b" + USER[1:], KEY)):
        with pytest.raises(NotFound):
            other.opened(sealed)


@given(response_id=ids, model=models, at=st.integers(0, 200), letter=st.sampled_from("aZ9_-=.é"))
def test_a_changed_id_does_not_exist(response_id: str, model: str, at: int, letter: str) -> None:
    sealed = OURS.sealed(response_id, model)
    at %= len(sealed)
    changed = sealed[:at] + letter + sealed[at + 1 :]
    if changed != sealed:
        with pytest.raises(NotFound):
            OURS.opened(changed)


@pytest.mark.parametrize("sealed", ["", ".", "..", "resp_1", "resp_1.bQ", "resp_1.bQ.x", "x" * 5000, "resp_\ud83d.a.b"])
def test_any_other_text_does_not_exist(sealed: str) -> None:
    with pytest.raises(NotFound):
        OURS.opened(sealed)
