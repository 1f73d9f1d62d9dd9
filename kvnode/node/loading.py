"""Taking in the versions of a dump (rule R6: versions only, whatever the dump knew)."""

from __future__ import annotations

from collections.abc import Sequence

from kvnode.core.effects import Now
from kvnode.core.entry import Siblings, Version
from kvnode.core.replica import Replica
from kvnode.core.ticks import is_volatile


def take_in(replica: Replica, records: Sequence[Siblings], now: Now) -> int:
    """Merge these versions under their own dots, and hand them on; gives how many were new.

    Left out is what the node knows already (then it holds it, or something that superseded it), what is volatile,
    what belongs to a closed incarnation (R3: its missing ticks are void, or on their way to be), and ticks that the
    running incarnation has not used yet (a dump cannot have them, unless this process was copied).
    """
    new: list[Version] = []
    for siblings in records:
        for version in siblings:
            if _is_wanted(replica, version):
                replica.state.clock.observe(version.stamp, now.wall)
                replica.state.add(version.key, version)
                new.append(version)
    replica.sync.offer(new, None, now)
    return len(new)


def _is_wanted(replica: Replica, version: Version) -> bool:
    state, inc = replica.state, version.inc
    if state.known.has(inc, version.tick) or is_volatile(inc) or state.is_closed(inc):
        return False
    return inc not in state.counters and state.in_view(version.details.path)
