"""What faults really did. A fault that is drawn need not take effect: nothing may have been under way when a link was
cut, or unsynced when the power went. So each is counted where it does its work, and a long run has to show them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .host import Process
    from .world import World

ALL: Final = frozenset(
    {
        # Links.
        "message lost",
        "message lost where half are",
        "message repeated",
        "message overtaken",
        "message blocked in both directions",
        "message blocked in one direction",
        "message late by seconds",
        "message read slowly",
        "sender waits for a slow reader",
        "half-open link",
        "five parts wrote one path",
        "one host bridges two sides",
        # Processes and disks.
        "transactions lost in a crash",
        "unsynced transactions survived a crash",
        "transaction torn",
        "bits flipped",
        "commit refused by a full disk",
        "commit refused by a read-only disk",
        "commit failed at a sync",
        "commit failed at a sync and stood",
        "stood still for a minute",
        "store set back",
        "store empty under an old name",
        "store in doubt",
        "machine's memory set back",
        "clone wrote beside the original",
        "old name at a new address",
        "back after a year",
        "retired and back",
        "retired and back after a year",
        # Clocks.
        "clock a year ahead",
        "clock a year behind",
        "boot in 1970",
        # Clusters.
        "releases mixed on a link",
        "link refused by a newer release",
        "partial replica with several links",
        "link between partial replicas",
        "more than twelve nodes",
    }
)
_MINUTE_MS: Final = 60_000
_YEAR_MS: Final = 364 * 86_400_000
_MANY: Final = 12


def look_at_plan(world: World) -> None:
    """What the plan itself tells."""
    hosts = {h.name: h for h in world.plan.hosts}
    if len(hosts) > _MANY:
        world.happened["more than twelve nodes"] += 1
    for name, host in hosts.items():
        near = [b if a == name else a for a, b in world.plan.edges if name in (a, b)]
        if host.view is not None:
            world.happened["partial replica with several links"] += len(near) > 1
            world.happened["link between partial replicas"] += sum(hosts[n].view is not None for n in near)


def stood_still(world: World, duration: int) -> None:
    """A process was stopped for so long."""
    if duration >= _MINUTE_MS:
        world.happened["stood still for a minute"] += 1


def clock_set(world: World, offset_ms: int) -> None:
    """A clock of a running process is off by so much now."""
    if abs(offset_ms) >= _YEAR_MS:
        world.happened["clock a year ahead" if offset_ms > 0 else "clock a year behind"] += 1


def wrote(world: World, process: Process, path: str) -> None:
    """A client's write was taken."""
    if process.label != process.host.name and process.host.name in world.cloned:
        world.happened["clone wrote beside the original"] += 1
    if world.now > world.parts_until or process.label not in world.parts:
        return
    wrote_here = world.parts_wrote.setdefault(path, set())
    wrote_here.add(world.parts[process.label])
    if wrote_here == set(world.parts.values()) and len(wrote_here) == 5:
        world.happened["five parts wrote one path"] += 1
        world.parts_until = -1
