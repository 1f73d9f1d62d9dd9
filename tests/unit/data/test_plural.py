"""Numbers of things, for people."""

from __future__ import annotations

import pytest

from kvnode.data.plural import counted


@pytest.mark.parametrize(
    ("count", "nouns", "text"),
    [
        (0, ("change",), "0 changes"),
        (1, ("change",), "1 change"),
        (2, ("change",), "2 changes"),
        (1, ("entry", "entries"), "1 entry"),
        (12, ("entry", "entries"), "12 entries"),
    ],
)
def test_one_of_a_kind_is_told_as_one(count: int, nouns: tuple[str, ...], text: str) -> None:
    assert counted(count, *nouns) == text
