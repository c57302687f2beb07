from __future__ import annotations

from app.embedded.vectors import embed, similarity


def test_vectors_are_the_same_for_the_same_words_and_closer_for_shared_ones() -> None:
    def product(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one, 256), embed(other, 256), strict=True))

    assert abs(product("the blue sky", "Blue, the sky!") - 1) < 1e-9
    assert product("a blue sky", "a blue sea") > product("a blue sky", "red wine")
    assert similarity("sky", "a skyline") == 0.5
    assert similarity("", "x") == 0.0
