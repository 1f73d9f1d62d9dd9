"""The winner of a sibling set, by policy, decided when reading: the stored siblings never depend on it.

Policies arbitrate concurrent versions only; a causally later write simply replaces. A tombstone never hides a
concurrent value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from .entry import Siblings, Version
from .path import Pattern
from .ticks import is_volatile, name_of

Unpack = Callable[[bytes], Any]

KINDS: Final = frozenset({"newest", "max", "min", "union", "merge", "owner", "ask"})


class Policy(NamedTuple):
    """A policy: one of :data:`KINDS`, and the owner's name for ``owner``."""

    kind: str
    owner: str = ""

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read ``newest``, ``max`` ... or ``owner=NAME``; ValueError otherwise."""
        kind, _, owner = text.partition("=")
        if kind not in KINDS or (kind == "owner") != bool(owner):
            raise ValueError(f"{text!r} is no policy; use newest, max, min, union, merge, owner=NAME or ask")
        return cls(kind, owner)

    def __str__(self) -> str:
        return f"{self.kind}={self.owner}" if self.owner else self.kind


NEWEST: Final = Policy("newest")


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading an entry gives: the winning version, the value (joined from all siblings for ``union`` and
    ``merge``), all siblings that hold a value, and whether the siblings are a conflict. With policy ``ask`` and
    several values `value` is still the newest one; the conflict is what asks.
    """

    winner: Version
    value: Any
    live: Siblings
    conflict: bool


def live(siblings: Siblings, now_ms: int) -> Siblings:
    """The siblings that hold a value now."""
    return tuple(v for v in siblings if not v.is_gone(now_ms))


def in_conflict(siblings: Siblings) -> bool:
    """Whether concurrent versions stand side by side. A durable tombstone below volatile values is none (R7)."""
    if len(siblings) < 2:
        return False
    counted = [v for v in siblings if not (v.is_tombstone and not is_volatile(v.inc))]
    durable_tombstones = len(siblings) - len(counted)
    if durable_tombstones and counted and all(is_volatile(v.inc) for v in counted):
        return len(counted) > 1
    return any(not v.is_tombstone for v in siblings)


def read(siblings: Siblings, policy: Policy, now_ms: int, unpack: Unpack) -> Reading | None:
    """Read an entry: None if it holds no value now. `unpack` decodes one encoded value."""
    values = live(siblings, now_ms)
    if not values:
        return None
    conflict = in_conflict(siblings)
    if len(values) == 1:
        return Reading(values[0], unpack(bytes(values[0].details.value)), values, conflict)
    newest = sorted(values, key=lambda v: v.order, reverse=True)
    decoded = [unpack(bytes(v.details.value)) for v in newest]
    if policy.kind in _JOIN:
        joined = _JOIN[policy.kind](decoded)
        return Reading(newest[0], joined, values, conflict)
    at = _PICK.get(policy.kind, _first)(newest, decoded, policy)
    return Reading(newest[at], decoded[at], values, conflict)


def _first(newest: Sequence[Version], decoded: Sequence[Any], policy: Policy) -> int:
    return 0


def _owned(newest: Sequence[Version], decoded: Sequence[Any], policy: Policy) -> int:
    return next((i for i, v in enumerate(newest) if name_of(v.inc) == policy.owner), 0)


def _greatest(newest: Sequence[Version], decoded: Sequence[Any], policy: Policy) -> int:
    return max(range(len(decoded)), key=lambda i: (_rank(decoded[i]), -i))


def _least(newest: Sequence[Version], decoded: Sequence[Any], policy: Policy) -> int:
    return min(range(len(decoded)), key=lambda i: (_rank(decoded[i]), i))


_PICK: Final = {"owner": _owned, "max": _greatest, "min": _least}


def _rank(value: Any) -> tuple[int, Any]:
    """A total order over values of any type: numbers, text, then everything else by its text."""
    if isinstance(value, (bool, int, float)):
        return (0, value) if value == value else (-1, 0)
    if isinstance(value, str):
        return (1, value)
    return (2, repr(value))


def _union(newest_first: Sequence[Any]) -> Any:
    """Lists are joined to the list of distinct elements, ordered; anything else counts as a list of one."""
    seen: dict[str, Any] = {}
    for value in newest_first:
        for element in value if isinstance(value, (list, tuple)) else (value,):
            seen.setdefault(repr(_rank(element)), element)
    return sorted(seen.values(), key=_rank)


def _merge_maps(newest_first: Sequence[Any]) -> Any:
    """Maps are merged key by key, the newest version that has the key decides; without maps the newest value."""
    if not all(isinstance(v, dict) for v in newest_first):
        return newest_first[0]
    merged: dict[Any, Any] = {}
    for value in reversed(newest_first):
        merged |= value
    return dict(sorted(merged.items(), key=lambda item: _rank(item[0])))


_JOIN: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {"union": _union, "merge": _merge_maps}


R = TypeVar("R", bound=tuple[Any, ...])


class Rules(Generic[R]):
    """Patterns with what holds for them. The pattern with most fixed elements decides, then its text; without any it is
    `default`.
    """

    __slots__ = ("_default", "_rules")

    def __init__(self, default: R, rules: Iterable[tuple[Pattern, R]] = ()) -> None:
        self._default = default
        self._rules = sorted(rules, key=lambda r: (-r[0].fixed, r[0].text, str(r[1])))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, path: tuple[str | int, ...]) -> R:
        """What holds for a path."""
        return next((rule for pattern, rule in self._rules if pattern.matches(path)), self._default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and self._rules == other._rules

    __hash__ = None  # type: ignore[assignment]  # compared by value, and never a key
