"""Marks on rare branches of the core, so that the simulator can show that each of them was taken.

The habit is FoundationDB's (test probes) and TigerBeetle's. Outside a simulation :data:`hook` does nothing; the
simulator puts its own function there for the length of a run. Every name is listed in :data:`ALL`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALL: Final = frozenset(
    {
        "stamp-skew",
        "strip",
        "forget",
        "forget-blocked-by-sibling",
        "void",
        "refused-closed",
        "session-tainted",
        "session-superseded-midway",
        "session-restarted",
        "session-held",
        "range-over-awaited",
        "digest-overtaken",
        "settle-differs",
        "settle-drop",
        "settle-restore",
        "partial-missed",
        "partial-asked",
        "partial-asked-again",
        "partial-held-back",
        "digest-buckets",
        "lazy-relay",
        "lazy-saved",
        "duplicate-session",
        "own-ticks-ahead",
        "dot-clash",
        "own-incarnation-closed",
        "redundant-link",
        "link-gap",
        "link-duplicate",
        "doubt",
        "restored-store",
        "volatile-over-durable",
        "cas-refused",
        "event-duplicate",
        "event-dropped",
    }
)


def _nothing(name: str) -> None:
    pass


_hook: Callable[[str], None] = _nothing


def hit(name: str) -> None:
    """Called from a rare branch."""
    _hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Let `hook` hear of every mark; None ends it."""
    global _hook
    _hook = hook or _nothing
