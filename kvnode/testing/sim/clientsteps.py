"""Steps of clients: what they ask of a node, and how the ledger takes note. The arguments are in the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from kvnode.core.effects import Change, Now, Refused, Wrote
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot, is_volatile
from kvnode.node.acks import parse_ack

from . import happened
from .ledger import Write
from .watch import live_dots

if TYPE_CHECKING:
    from .host import Process
    from .world import World

_encode: Final = msgspec.msgpack.encode


def propose(world: World, label: str, changes: list[Change], level: str) -> None:
    """Let a node make changes, and note in the ledger what it did."""
    process = world.process(label)
    if process is None:
        return
    if process.host.failing and parse_ack(level).needs_disk:
        world.log("unavailable", label)
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
    """A volatile write over a durable value deletes that value (and no volatile one) first, under its own dot (R7)."""
    for key in before:
        for version in replica.tree.get(key):
            dot = version.dot
            seen = dot in world.ledger.writes and not world.ledger.is_blurred(dot)
            if dot in named or dot in before[key] or seen or is_volatile(dot.inc):
                continue
            over = [d for d in before[key] if not is_volatile(d.inc)]
            world.ledger.record(Write(dot, key, process.label, process.run, frozenset(), True, world.now), over)
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
    happened.wrote(world, process, str(change.path))
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
    process = world.process(label)
    if process is not None:
        expiry = process.now().wall + ttl_ms
        propose(world, label, [Change(Path.parse(path), _value(world), "client", expiry=expiry)], level)


def _cas(world: World, label: str, path: str, level: str, kind: str) -> None:
    """Host, path, ack level, and what is expected: what is there (``fresh``), nothing (``absent``), or what the
    last such client read (``stale``).
    """
    process = world.process(label)
    if process is None:
        return
    where = Path.parse(path)
    now = live_dots(process.replica.tree.at(where), process.now().wall)
    expect = {"fresh": now, "absent": frozenset[Dot](), "stale": world.last_read.get(path, frozenset())}[kind]
    world.last_read[path] = now
    propose(world, label, [Change(where, _value(world), "cas", expect)], level)


def _event(world: World, label: str, path: str) -> None:
    """Host, path."""
    process = world.process(label)
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
    process = world.process(by)
    if process is not None:
        world.retired.add(name)
        process.feed(lambda replica, now: replica.retire(name, now))


def _watch(world: World, number: int, label: str, how: str) -> None:
    """Number of the watcher, host, ``all`` or ``latest``: it connects there, or goes on there."""
    process = world.process(label)
    if process is not None:
        world.watcher(number, how).connect(process)


def _unwatch(world: World, number: int) -> None:
    """Number of the watcher: it loses its connection."""
    if number in world.watchers:
        world.watchers[number].disconnect()


STEPS: Final[dict[str, Callable[..., None]]] = {
    "write": _write,
    "delete": _delete,
    "batch": _batch,
    "expire": _expire,
    "cas": _cas,
    "event": _event,
    "volatile": _volatile,
    "policy": _policy,
    "retire": _retire,
    "watch": _watch,
    "unwatch": _unwatch,
}
