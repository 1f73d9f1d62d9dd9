"""Numbers of things, for people."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """The number and the noun that goes with it; `many` is for nouns that take more than an s: ``1 entry``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
