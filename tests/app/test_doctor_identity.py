from __future__ import annotations

import pytest

from app.doctor.identity import numbers_in


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("1.110.2", (1, 110, 2)),
        ("v1.106.12-stable.3", (1, 106, 12)),
        ("7.0", (7, 0)),
        ("main", ()),
        ("1." + "9" * 5000, ()),  # int() refuses more than 4300 digits
    ],
)
def test_the_numbers_of_a_version_are_read(version: str, numbers: tuple[int, ...]) -> None:
    assert numbers_in(version) == numbers
