"""The end of all faults: what a run must come to rest after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .net import QUIET
from .plan import hang_together
from .releases import TOO_NEW

if TYPE_CHECKING:
    from .host import Host
    from .world import World

_CLOCK_MS: Final = 25_000
"""Clocks that are off by no more may stay so."""
_SYNC_MS: Final = 200
_FOR_GOOD_MS: Final = 1_000_000
"""A host that is down for so much longer is not meant to come back."""


def heal(world: World) -> None:
    """Every link up, every host that was not retired up, all clocks about right, all watching clients connected."""
    world.healed = True
    world.log("heal")
    world.noise = QUIET
    for host in list(world.hosts.values()):
        _mend(world, host)
    for edge in world.edges.values():
        edge.down, edge.blocked, edge.extra_ms = 0, [0, 0], [0, 0]
        for conn in edge.conns:
            conn.flush(0)
            conn.flush(1)
        world.dial_later(edge)
    for host in world.hosts.values():
        if not host.retired:
            world.start(host)
    for watcher in world.watchers.values():
        watcher.come_back()


def _mend(world: World, host: Host) -> None:
    if host.label != host.name:
        world.end_clone(host)
    elif _gone_for_good(world, host):
        host.retired = True
        world.destroyed()
    if abs(host.clock_ms) > _CLOCK_MS:
        world.set_clock(host, 0)
    host.sync_ms, host.reading_ms, host.failing = min(host.sync_ms, _SYNC_MS), 0, ""
    if host.release == TOO_NEW:
        host.release = 0
        world.crash(host, len(host.disk.staged))


def _gone_for_good(world: World, host: Host) -> bool:
    """Whether a host was retired while it was down, and nobody needs it as a way to others."""
    if host.name not in world.retired or host.process is not None or host.up_at < world.now + _FOR_GOOD_MS:
        return False
    left = {h.label: h.view for h in world.hosts.values() if h is not host and not h.retired}
    return None in left.values() and hang_together(left, world.edges)
