"""What the system's own tree below ``@`` says to the core: members, closed incarnations, policies, volatile patterns.

Siblings of such an entry are concurrent statements, and all of them count: a node that one side of a partition
retired and the other one renewed is a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .entry import Siblings, plain
from .history import NOTHING, Keep
from .path import Path, PathError, Pattern, key_range_end, path_key, pattern
from .policy import NEWEST, Policy, R, Rules
from .ticks import Incarnation, is_incarnation
from .tree import Tree

SYSTEM: Final = "@"
SYSTEM_KEY: Final = path_key((SYSTEM,))
NODES: Final = path_key((SYSTEM, "nodes"))
PARTIAL: Final = path_key((SYSTEM, "partial"))
POLICY: Final = path_key((SYSTEM, "policy"))
HISTORY: Final = path_key((SYSTEM, "history"))
VOLATILE: Final = path_key((SYSTEM, "volatile"))


def member(key: bytes) -> str | None:
    """The name whose entry below ``@.nodes`` has this key; None for any other key."""
    path = Path.from_key(key)
    name = path[2] if len(path) == 3 and key.startswith(NODES) else None
    return name if isinstance(name, str) else None


def owns(siblings: Siblings) -> bool:
    """Whether an entry below ``@.nodes`` makes its name a member."""
    return any(not v.is_tombstone for v in siblings)


def closed(siblings: Siblings) -> frozenset[Incarnation]:
    """The incarnations that a node's record closes (R3)."""
    return frozenset(i for row in _rows(siblings) for i in closed_by(row))


def closed_by(record: Mapping[str, object]) -> list[Incarnation]:
    """The incarnations that a node's record closes."""
    listed = record.get("closes")
    return [i for i in listed if isinstance(i, str) and is_incarnation(i)] if isinstance(listed, list) else []


def rules(tree: Tree, complain: Callable[[str, str], None]) -> Rules[Policy]:
    """The policies below ``@.policy``; `complain` hears the pattern and the fault of a policy that is none."""
    return Rules(NEWEST, _read_rules(tree, POLICY, _policy, complain))


def keeps(tree: Tree, complain: Callable[[str, str], None]) -> Rules[Keep]:
    """How much history is kept, below ``@.history``; `complain` hears the pattern and the fault of a bad entry."""
    return Rules(NOTHING, _read_rules(tree, HISTORY, Keep.parse, complain))


def _policy(row: Mapping[str, object]) -> Policy:
    text = row.get("policy")
    if not isinstance(text, str):
        raise ValueError("the policy is missing")
    return Policy.parse(text)


def _read_rules(
    tree: Tree, prefix: bytes, parse: Callable[[Mapping[str, object]], R], complain: Callable[[str, str], None]
) -> Iterator[tuple[Pattern, R]]:
    """The pattern and the rule of each map below `prefix`."""
    for row in _maps(tree, prefix):
        where = _pattern(row.get("pattern"))
        if where is None:
            continue
        try:
            yield where, parse(row)
        except ValueError as err:
            complain(where.text, str(err))


def volatile_patterns(tree: Tree) -> tuple[Pattern, ...]:
    """What ``@.volatile`` keeps in memory only (R7)."""
    return tuple(p for row in _maps(tree, VOLATILE) if (p := _pattern(row.get("pattern"))))


def _maps(tree: Tree, prefix: bytes) -> Iterator[dict[str, object]]:
    """The map values of all live versions below a system prefix."""
    for _, siblings in tree.scan_range(prefix, key_range_end(prefix)):
        yield from _rows(siblings)


def _rows(siblings: Siblings) -> Iterator[dict[str, object]]:
    for version in siblings:
        value = None if version.is_tombstone else plain(bytes(version.details.value))
        if isinstance(value, dict):
            yield value


def _pattern(text: object) -> Pattern | None:
    if not isinstance(text, str):
        return None
    try:
        return pattern(text)
    except PathError:
        return None
