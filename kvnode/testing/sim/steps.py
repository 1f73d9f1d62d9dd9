"""What each step of a plan does: clients' operations, and faults. The arguments are told in each docstring."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from kvnode.core.effects import Change, Now, Refused, Wrote
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot, is_volatile

from .disk import Disk
from .host import Host, Process
from .ledger import Write
from .net import QUIET, Noise
from .watch import live_dots

if TYPE_CHECKING:
    from .plan import Step
    from .world import World

_encode: Final = msgspec.msgpack.encode


def perform(world: World, step: Step) -> None:
    """Do one step, if it makes sense now."""
    world.log("step", step.kind, *step.args)
    world.harmed = world.harmed or step.kind in _HARMFUL
    world.doubted = world.doubted or step.kind in ("damage", "doubt")
    _STEPS[step.kind](world, *step.args)


def _process(world: World, label: str) -> Process | None:
    host = world.hosts.get(label)
    return host.process if host is not None else None


# -- clients ---------------------------------------------------------------------------------------------------


def propose(world: World, label: str, changes: list[Change], level: str) -> None:
    """Let a node make changes, and note in the ledger what it did."""
    process = _process(world, label)
    if process is None:
        return

    def call(replica: Replica, now: Now) -> None:
        _propose(world, process, replica, changes, level, now)

    process.feed(call)


def _propose(world: World, process: Process, replica: Replica, changes: list[Change], level: str, now: Now) -> None:
    before = {c.path.key: tuple(v.dot for v in replica.tree.at(c.path)) for c in changes}
    expected = _should_pass(replica, changes, now)
    got = replica.propose(changes, now)
    if isinstance(got, Refused):
        world.log("refused", process.label, got.code)
        if expected:
            world.broken("cas", f"{process.label} refused {got.path} ({got.code}: {got.detail}) that was as expected")
        if before != {c.path.key: tuple(v.dot for v in replica.tree.at(c.path)) for c in changes}:
            world.broken("cas", f"{process.label} refused a batch and changed something")
        return
    if not expected:
        world.broken("cas", f"{process.label} took a compare-and-set of {changes[0].path} that should have failed")
    _note_hidden(world, process, replica, before, {w.dot for w in got})
    for change, wrote in zip(changes, got, strict=True):
        _note_write(world, process, change, wrote, before, level)


def _should_pass(replica: Replica, changes: list[Change], now: Now) -> bool:
    if not all(replica.state.in_view(c.path) for c in changes):
        return False
    return all(c.expect is None or c.expect == live_dots(replica.tree.at(c.path), now.wall) for c in changes)


def _note_hidden(
    world: World, process: Process, replica: Replica, before: dict[bytes, tuple[Dot, ...]], named: set[Dot]
) -> None:
    """A volatile write over a durable value deletes that value first, under a dot of its own (R7)."""
    for key in before:
        for version in replica.tree.get(key):
            dot = version.dot
            if dot in named or dot in before[key] or dot in world.ledger.writes or is_volatile(dot.inc):
                continue
            world.ledger.record(Write(dot, key, process.label, process.run, frozenset(), True, world.now), before[key])
            before[key] = (*(d for d in before[key] if is_volatile(d.inc)), dot)


def _note_write(
    world: World, process: Process, change: Change, wrote: Wrote, before: dict[bytes, tuple[Dot, ...]], level: str
) -> None:
    key, dot = change.path.key, wrote.dot
    over = [d for d in before[key] if is_volatile(d.inc) or not is_volatile(dot.inc)]
    write = Write(dot, key, process.label, process.run, frozenset(), change.value is None, world.now, change.expiry)
    world.ledger.record(write, over)
    world.log("wrote", process.label, str(change.path), str(dot), wrote.stamp)
    before[key] = (*(d for d in before[key] if d not in over), dot)
    world.watch.wrote(process, write, level)


def _value(world: World) -> bytes:
    world.values += 1
    return _encode(world.values)


def _write(world: World, label: str, path: str, level: str) -> None:
    """Host, path, ack level."""
    propose(world, label, [Change(Path.parse(path), _value(world), "client")], level)


def _delete(world: World, label: str, path: str, level: str) -> None:
    """Host, path, ack level."""
    propose(world, label, [Change(Path.parse(path), None, "client")], level)


def _batch(world: World, label: str, level: str, *paths: str) -> None:
    """Host, ack level, paths; every third change of a batch is a delete."""
    changes = [Change(Path.parse(p), None if i % 3 == 2 else _value(world), "batch") for i, p in enumerate(paths)]
    propose(world, label, changes, level)


def _expire(world: World, label: str, path: str, level: str, ttl_ms: int) -> None:
    """Host, path, ack level, time to live."""
    process = _process(world, label)
    if process is not None:
        expiry = process.now().wall + ttl_ms
        propose(world, label, [Change(Path.parse(path), _value(world), "client", expiry=expiry)], level)


def _cas(world: World, label: str, path: str, level: str, kind: str) -> None:
    """Host, path, ack level, and what is expected: what is there (``fresh``), nothing (``absent``), or what the
    last such client read (``stale``).
    """
    process = _process(world, label)
    if process is None:
        return
    where = Path.parse(path)
    now = live_dots(process.replica.tree.at(where), process.now().wall)
    expect = {"fresh": now, "absent": frozenset[Dot](), "stale": world.last_read.get(path, frozenset())}[kind]
    world.last_read[path] = now
    propose(world, label, [Change(where, _value(world), "cas", expect)], level)


def _event(world: World, label: str, path: str) -> None:
    """Host, path."""
    process = _process(world, label)
    if process is not None:
        value = _value(world)
        process.feed(lambda replica, now: replica.send_event(Path.parse(path), value, "client", now))


def _volatile(world: World, label: str, pattern: str) -> None:
    """Host, pattern: mark it volatile, cluster-wide."""
    propose(world, label, [Change(Path(("@", "volatile", "v")), _encode({"pattern": pattern}), "admin")], "disk")


def _policy(world: World, label: str, pattern: str, policy: str) -> None:
    """Host, pattern, policy."""
    value = _encode({"pattern": pattern, "policy": policy})
    propose(world, label, [Change(Path(("@", "policy", "p")), value, "admin")], "disk")


def _retire(world: World, by: str, name: str) -> None:
    """Where, whom."""
    process = _process(world, by)
    if process is not None:
        world.retired.add(name)
        process.feed(lambda replica, now: replica.retire(name, now))


# -- the network -----------------------------------------------------------------------------------------------


def _cut(world: World, a: str, b: str, duration: int) -> None:
    """Edge, for how long: no connection at all."""
    world.take_down([(a, b)], duration)


def _split(world: World, duration: int, *side: str) -> None:
    """For how long, the hosts of one side."""
    inside = set(side)
    world.take_down([(e.a, e.b) for e in world.edges.values() if (e.a in inside) != (e.b in inside)], duration)


def _bridge(world: World, duration: int, middle: str, *side: str) -> None:
    """For how long, the host that both sides still see, the hosts of one side."""
    inside = set(side)
    apart = [e for e in world.edges.values() if (e.a in inside) != (e.b in inside) and middle not in (e.a, e.b)]
    world.take_down([(e.a, e.b) for e in apart], duration)


def _oneway(world: World, a: str, b: str, duration: int) -> None:
    """From, to, for how long: nothing gets through in this direction."""
    world.block(a, b, duration)


def _clog(world: World, a: str, b: str, duration: int) -> None:
    """Edge, for how long: nothing gets through in either direction, connections stay."""
    world.block(a, b, duration)
    world.block(b, a, duration)


def _slow(world: World, a: str, b: str, delay: int, duration: int) -> None:
    """From, to, extra delay, for how long."""
    edge = world.edge(a, b)
    if edge is None:
        return
    side = edge.side(a)
    edge.extra_ms[side] += delay
    world.after(duration, world.unslow, edge, side, delay)


def _noise(world: World, duration: int, loss: int, repeat: int, reorder: int) -> None:
    """For how long; loss, duplication, reordering in percent."""
    world.noise = Noise(loss, repeat, reorder)
    world.noise_until = max(world.noise_until, world.now + duration)
    world.at(world.noise_until, world.calm)


def _reset(world: World, a: str, b: str) -> None:
    """Edge: its connections break."""
    edge = world.edge(a, b)
    for conn in list(edge.conns) if edge else ():
        conn.cut()


def _stale(world: World, a: str, b: str, late: int) -> None:
    """Edge, time until one end hears that the connection broke: half-open, while a new one may be made."""
    edge = world.edge(a, b)
    for conn in list(edge.conns) if edge else ():
        conn.cut(late)


def _twin(world: World, a: str, b: str) -> None:
    """Edge: both sides dial at once."""
    edge = world.edge(a, b)
    if edge is not None and edge.is_open:
        world.connect(edge)
        world.connect(edge)


# -- hosts -----------------------------------------------------------------------------------------------------


def _crash(world: World, label: str, down: int) -> None:
    """Host, how long it is down; part of what was not synced may have reached the disk."""
    host = world.hosts.get(label)
    if host is None or host.process is None:
        return
    staged = len(host.disk.staged)
    survive = Random(f"kvnode crash {world.plan.seed} {label} {host.runs}").randint(0, staged) if staged else 0
    world.crash(host, survive)
    world.start_later(host, down)


def _stop(world: World, label: str, down: int) -> None:
    """Host, how long it is down: a clean stop, everything is synced."""
    host = world.hosts.get(label)
    if host is not None and host.process is not None:
        world.crash(host, len(host.disk.staged))
        world.start_later(host, down)


def _disk(world: World, label: str, sync: int, duration: int) -> None:
    """Host, longest time of a sync, for how long."""
    host = world.hosts.get(label)
    if host is not None:
        before = host.sync_ms
        host.sync_ms = sync
        world.after(duration, world.set_sync, host, before)


def _pause(world: World, label: str, duration: int) -> None:
    """Host, for how long its process stands still."""
    process = _process(world, label)
    if process is not None:
        process.pause(duration)


def _clock(world: World, label: str, offset: int) -> None:
    """Host, how far its clock is off from now on."""
    host = world.hosts.get(label)
    if host is not None:
        world.set_clock(host, offset)


def _backup(world: World, label: str) -> None:
    """Host."""
    host = world.hosts.get(label)
    if host is not None:
        host.backup = host.disk.image()


def _restore(world: World, label: str, down: int) -> None:
    """Host, how long it is down: it comes back with its backup."""
    host = world.hosts.get(label)
    if host is None or host.backup is None:
        return
    if host.process is not None:
        world.crash(host, 0)
    host.disk = Disk(host.backup)
    host.disk.rewound = True
    world.destroyed()
    world.start_later(host, down)


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
    host = world.hosts.get(label)
    if host is not None and host.process is not None:
        world.crash(host, len(host.disk.staged))
        host.disk.distrust("salvaged")
        world.destroyed()
        world.start_later(host, down)


_STEPS: Final[dict[str, Callable[..., None]]] = {
    "write": _write,
    "delete": _delete,
    "batch": _batch,
    "expire": _expire,
    "cas": _cas,
    "event": _event,
    "volatile": _volatile,
    "policy": _policy,
    "retire": _retire,
    "cut": _cut,
    "split": _split,
    "bridge": _bridge,
    "oneway": _oneway,
    "clog": _clog,
    "slow": _slow,
    "noise": _noise,
    "reset": _reset,
    "stale": _stale,
    "twin": _twin,
    "crash": _crash,
    "stop": _stop,
    "disk": _disk,
    "pause": _pause,
    "clock": _clock,
    "backup": _backup,
    "restore": _restore,
    "clone": _clone,
    "damage": _damage,
    "doubt": _doubt,
}
_HARMFUL: Final = frozenset({"restore", "clone", "damage", "doubt", "retire", "clock"})
KINDS: Final = frozenset(_STEPS)

__all__ = ["KINDS", "QUIET", "perform", "propose"]
