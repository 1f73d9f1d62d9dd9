"""What kvnode is to reach: against another system in the same run, or by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Versus:
    """`system` must be at least `times` better than `rival`."""

    measure: str
    rival: str
    times: float
    system: str = "kvnode"


@dataclass(frozen=True, slots=True)
class Bound:
    """The value itself, at least or at most by the measure's kind. It belongs to the machine it was set on."""

    measure: str
    value: float


TARGETS: Final[tuple[Versus | Bound, ...]] = (
    Versus("far", "redis-everysec", 1),
    Versus("far", "nats", 4),
    Versus("far", "etcd", 4),
    Versus("put-1", "redis-always", 1),
    Versus("put-1", "redis-everysec", 2, system="kvnode-memory"),
    Versus("put-64", "redis-always", 3),
    Versus("put-64", "etcd", 5),
    Versus("batch", "redis-always", 3),
    Versus("get-64", "redis-everysec", 5),
    Versus("watched", "redis-everysec", 1.5),
    Bound("load", 4.0),
    Bound("scan", 100_000),
    Bound("export", 240_000),
    Bound("restart", 0.8),
    Bound("heal", 1.0),
    Bound("heal-bytes", 160),
    Bound("memory", 600),
    Bound("both", 1),
)
