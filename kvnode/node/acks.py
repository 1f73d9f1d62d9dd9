"""Ack levels: what must have happened before a write is answered.

=========== ==================================================================
level       answered when
=========== ==================================================================
``memory``  this node has the change
``disk``    it is durable here (the default)
``peer:N``  it is durable at N other members, whatever this node's own disk says
``all``     it is durable here and at every other member
=========== ==================================================================
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, NamedTuple, Protocol

from kvnode.core.ticks import Dot

MAX_PEERS: Final = 1_000


class AckLevel(NamedTuple):
    """A level; `peers` is the N of ``peer:N``, otherwise 0."""

    kind: str
    peers: int = 0

    @property
    def needs_disk(self) -> bool:
        """Whether this node's own store has to acknowledge."""
        return self.kind in ("disk", "all")

    @property
    def needs_others(self) -> bool:
        """Whether other members have to."""
        return self.kind in ("peer", "all")

    def __str__(self) -> str:
        return f"peer:{self.peers}" if self.kind == "peer" else self.kind


MEMORY: Final = AckLevel("memory")
DISK: Final = AckLevel("disk")
ALL: Final = AckLevel("all")
_PLAIN: Final = {level.kind: level for level in (MEMORY, DISK, ALL)}


def parse_ack(text: str) -> AckLevel:
    """Read ``memory``, ``disk``, ``peer:N`` or ``all``. Raises ValueError."""
    if text in _PLAIN:
        return _PLAIN[text]
    kind, _, count = text.partition(":")
    if kind == "peer" and len(count) <= 4 and count.isascii() and count.isdigit() and 1 <= int(count) <= MAX_PEERS:
        return AckLevel("peer", int(count))
    raise ValueError(f"{text!r} is no ack level; use memory, disk, peer:N (N from 1 to {MAX_PEERS}) or all")


class Acknowledged(Protocol):
    """What of a replica tells who holds a dot."""

    @property
    def name(self) -> str:
        """The node's own name."""

    def durable_here(self, dot: Dot) -> bool:
        """Whether the dot is durable in the local store."""

    def ackers(self, dot: Dot) -> Set[str]:
        """Members that hold the dot durably."""

    def members(self) -> Set[str]:
        """All members."""


def missing(level: AckLevel, dot: Dot, replica: Acknowledged) -> Set[str] | None:
    """Who has yet to acknowledge `dot`: None if the level is reached; for ``peer:N`` all who could still do it."""
    if level.kind == "memory":
        return None
    own = set() if replica.durable_here(dot) else {replica.name}
    if level.kind == "disk":
        return own or None
    others = replica.members() - {replica.name}
    have = replica.ackers(dot) & others
    if level.kind == "peer":
        return None if len(have) >= level.peers else others - have
    return (own | (others - have)) or None
