"""Steps that break hosts: their processes, disks and clocks, and who they are. The arguments are in the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from kvnode.data.versions import is_compiled

from . import happened
from .disk import Disk
from .host import Host
from .releases import TOO_NEW

if TYPE_CHECKING:
    from .world import World

_YEAR_MS: Final = 365 * 86_400_000
_GIVEN_UP_MS: Final = 20_000
"""Peers give up a link on which nothing was heard for so long."""


def _rng(world: World, host: Host, what: str) -> Random:
    return Random(f"kvnode {what} {world.plan.seed} {host.label} {host.runs}")


def _reached(world: World, host: Host) -> int:
    """How many of the transactions that are not synced happen to be on the disk when the power goes."""
    staged = len(host.disk.staged)
    return _rng(world, host, "crash").randint(0, staged) if staged and host.failing in ("", "io") else 0


def _count_reached(world: World, host: Host) -> int:
    reached = _reached(world, host)
    world.happened["unsynced transactions survived a crash"] += reached > 0
    return reached


def _crash(world: World, label: str, down: int) -> None:
    """Host, how long it is down; part of what was not synced may have reached the disk."""
    host = world.running(label)
    if host is not None:
        world.crash(host, _count_reached(world, host))
        world.start_later(host, down)


def _vanish(world: World, label: str, down: int) -> None:
    """Host, how long it is down: the power goes, and its peers hear nothing of the end of their links for a while."""
    host = world.running(label)
    if host is not None:
        world.crash(host, _count_reached(world, host), silently=True)
        world.start_later(host, down)


def _stop(world: World, label: str, down: int) -> None:
    """Host, how long it is down: a clean stop, everything is synced, if the disk takes it."""
    host = world.running(label)
    if host is not None:
        world.crash(host, 0 if host.failing else len(host.disk.staged))
        world.start_later(host, down)


def _tear(world: World, label: str, down: int, how: str) -> None:
    """Host, how long it is down, ``torn`` or ``flipped``: a crash in the middle of a transaction."""
    host = world.running(label)
    if host is None:
        return
    rng = _rng(world, host, "tear")
    host.disk.sync(rng.randint(0, max(len(host.disk.staged) - 1, 0)))
    world.happened["bits flipped" if how == "flipped" else "transaction torn"] += bool(host.disk.staged)
    host.disk.tear(rng, flipped=how == "flipped")
    world.crash(host, 0)
    world.destroyed()
    world.start_later(host, down)


def _disk(world: World, label: str, sync: int, duration: int) -> None:
    """Host, longest time of a sync, for how long."""
    host = world.hosts.get(label)
    if host is not None:
        before = host.sync_ms
        host.sync_ms = sync
        world.after(duration, world.set_sync, host, before)


def _failing(world: World, label: str, why: str, duration: int) -> None:
    """Host, ``full``, ``io`` or ``readonly``, for how long: its store fails, the node goes on."""
    host = world.hosts.get(label)
    if host is None or host.failing:
        return
    host.failing = why
    if host.process is not None:
        world.watch.store_failed(host.process)
    world.after(duration, _mend, host)


def _mend(host: Host) -> None:
    host.failing = ""


def _pause(world: World, label: str, duration: int) -> None:
    """Host, for how long its process stands still; after a while its peers give up the links, and it cannot hear it."""
    process = world.process(label)
    if process is None:
        return
    process.pause(duration)
    happened.stood_still(world, duration)
    for conn, _ in process.links.values() if duration > _GIVEN_UP_MS else ():
        world.after(_GIVEN_UP_MS, conn.cut)


def _clock(world: World, label: str, offset: int) -> None:
    """Host, how far its clock is off from now on."""
    host = world.hosts.get(label)
    if host is not None:
        world.set_clock(host, offset)


def _epoch(world: World, label: str, down: int, later: int) -> None:
    """Host, how long it is down, and how long after that it learns the time: it has no clock of its own, so it starts
    in 1970.
    """
    host = world.running(label)
    if host is not None:
        world.crash(host, _reached(world, host))
        world.set_clock(host, -world.wall())
        world.happened["boot in 1970"] += 1
        world.start_later(host, down)
        world.after(down + later, world.set_clock, host, 0)


def _year(world: World) -> None:
    """A year passes in which nothing happens."""
    world.aged_ms += _YEAR_MS
    for process in world.processes():
        process.feed(lambda replica, now: replica.wake(now))


# -- stores and identities -------------------------------------------------------------------------------------


def _backup(world: World, label: str) -> None:
    """Host."""
    host = world.hosts.get(label)
    if host is not None:
        host.backup = host.disk.image()


def _restore(world: World, label: str, down: int) -> None:
    """Host, how long it is down: it comes back with its backup."""
    host = world.hosts.get(label)
    if host is not None and host.backup is not None:
        world.happened["store set back"] += host.disk.known != host.backup.known
        _replace_disk(world, host, Disk(host.backup))
        world.start_later(host, down)


def _wipe(world: World, label: str, down: int) -> None:
    """Host, how long it is down: it comes back under its name with an empty store."""
    host = world.hosts.get(label)
    if host is not None:
        world.happened["store empty under an old name"] += bool(host.disk.rows)
        _replace_disk(world, host, Disk())
        world.start_later(host, down)


def _replace_disk(world: World, host: Host, disk: Disk) -> None:
    if host.process is not None:
        world.crash(host, 0)
    host.disk = disk
    host.disk.rewound = True
    world.destroyed()


def _snapshot(world: World, label: str) -> None:
    """Host: a virtual machine, whose memory and disk are copied while it runs. Compiled objects cannot be copied: there
    it does nothing, nor does :func:`_rewind`.
    """
    host = world.running(label)
    if host is not None and host.process is not None and not is_compiled():
        host.snapshot = host.process.snapshot()


def _rewind(world: World, label: str) -> None:
    """Host: the machine goes back to its snapshot and runs on, with its links broken."""
    host = world.hosts.get(label)
    if host is None or host.snapshot is None or host.process is None:
        return
    snapshot, host.snapshot = host.snapshot, None
    world.happened["machine's memory set back"] += snapshot.replica.known.map != host.process.replica.known.map
    _replace_disk(world, host, snapshot.disk)
    world.ledger.blur(snapshot.replica.state.counters)
    world.go_on(host, snapshot)


def _clone(world: World, label: str, duration: int, *peers: str) -> None:
    """Host, for how long, whom the clone talks to: the store is copied and started a second time."""
    host, twin = world.hosts.get(label), f"{label}+"
    if host is None or twin in world.hosts or host.label != host.name:
        return
    world.cloned.add(host.name)
    copy = Host(twin, host.name, Disk(host.disk.image()), host.clock_ms, host.sync_ms, host.view, host.announces)
    world.hosts[twin] = copy
    neighbours = {n for e in world.edges.values() if label in (e.a, e.b) for n in (e.a, e.b)} - {label}
    for peer in sorted({*peers, *sorted(neighbours)[:1]}):
        world.add_edge(twin, peer)
    world.start(copy)
    world.after(duration, world.end_clone, copy)


def _move(world: World, label: str, down: int, *peers: str) -> None:
    """Host, how long it is down, whom it can reach besides from then on: its store goes on at a new address."""
    host = world.running(label)
    if host is not None:
        world.crash(host, len(host.disk.staged))
        host.moves += 1
        world.happened["old name at a new address"] += 1
        for peer in peers:
            world.add_edge(label, peer)
        world.start_later(host, down)


def _release(world: World, label: str, release: int, down: int) -> None:
    """Host, which release of the program it runs from now on (see releases.py), how long the change takes."""
    host = world.hosts.get(label)
    if host is None or host.release == release:
        return
    host.release = release if release != TOO_NEW or world.plan.codec else 0
    if host.process is not None:
        world.crash(host, 0 if host.failing else len(host.disk.staged))
        world.start_later(host, down)


def _damage(world: World, label: str, which: int, down: int) -> None:
    """Host, which record, how long it is down: the record is gone, everything else is as it was."""
    host = world.hosts.get(label)
    if host is None or not host.disk.rows:
        return
    if host.process is not None:
        world.crash(host, len(host.disk.staged))
    keys = sorted(host.disk.rows)
    host.disk.lose_row(keys[which % len(keys)])
    world.destroyed()
    world.start_later(host, down)


def _doubt(world: World, label: str, down: int) -> None:
    """Host, how long it is down: the store comes back with doubts (R6)."""
    host = world.running(label)
    if host is not None:
        world.crash(host, len(host.disk.staged))
        host.disk.distrust("salvaged")
        world.destroyed()
        world.start_later(host, down)


STEPS: Final[dict[str, Callable[..., None]]] = {
    "crash": _crash,
    "vanish": _vanish,
    "stop": _stop,
    "tear": _tear,
    "disk": _disk,
    "failing": _failing,
    "pause": _pause,
    "clock": _clock,
    "epoch": _epoch,
    "year": _year,
    "backup": _backup,
    "restore": _restore,
    "wipe": _wipe,
    "snapshot": _snapshot,
    "rewind": _rewind,
    "clone": _clone,
    "move": _move,
    "release": _release,
    "damage": _damage,
    "doubt": _doubt,
}
