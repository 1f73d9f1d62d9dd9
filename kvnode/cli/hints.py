"""Hints for people who know wildcards, or slashes between elements, from elsewhere: MQTT, shells, files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from kvnode.core.path import Path, Pattern

from .errors import CliError, Exit

if TYPE_CHECKING:
    from kvnode.client import Reading

    from .session import Session

DOTS: Final = "dots separate the elements of a path, as in home.attic"
_PATTERN: Final = "wildcards go into --pattern, as in --pattern home.+.temp"
_WILDCARDS: Final = frozenset({"#", "+", "*", "**"})


def nothing_below(path: Path, pattern: Pattern | None) -> str:
    """The line for nothing at or below `path`, if the path looks like one of elsewhere; else empty."""
    hint = how_written(path, pattern)
    return hint and f"no values at or below {path}: {hint}"


def how_written(path: Path, pattern: Pattern | None) -> str:
    """How that is written here for which there are wildcards or slashes in `path`; empty if there are none."""
    if pattern is None and any(element in _WILDCARDS for element in path):
        return _PATTERN
    return DOTS if has_slash(path) else ""


def has_slash(path: Path) -> bool:
    """Whether an element has a slash in it: it is allowed, and seldom meant."""
    return any(isinstance(element, str) and "/" in element for element in path)


async def existing(link: Session, path: Path) -> Reading:
    """The value at `path`. Raises NotFound, or CliError with the same exit code where there is a hint to give with it:
    values below `path`, or slashes.
    """
    from kvnode.client import NotFound

    try:
        return await link.client.get(path)
    except NotFound as exc:
        if await link.client.children(path, limit=1):
            below = f"kv list {shlex.quote(str(path))}" if path else "kv list"
            raise CliError(f"{exc}, but there are some below it: {below}", Exit.NOT_FOUND) from exc
        if has_slash(path):
            raise CliError(f"{exc}: {DOTS}", Exit.NOT_FOUND) from exc
        raise
