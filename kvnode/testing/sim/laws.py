"""The laws that must hold when all faults are healed and the cluster is quiet.

This checker shares no code with the core's merging: it compares nodes with each other, and with the ledger that saw
every write from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import TYPE_CHECKING

from kvnode.core.entry import Version
from kvnode.core.path import Path, pattern
from kvnode.core.ticks import Dot, Incarnation, Ticks, name_of

from .ledger import has
from .watch import live_dots

if TYPE_CHECKING:
    from .host import Process
    from .ledger import Write
    from .world import World

Dump = dict[bytes, tuple[tuple[Dot, int, str], ...]]


def dump_of(process: Process, expired_at: int = 0) -> Dump:
    """The canonical dump: per path the values held, with dot, stamp and everything the writer said; without what has
    expired at a time.
    """
    out: Dump = {}
    for key, siblings in process.replica.tree.scan():
        shown = [
            (v.dot, v.stamp, blake2b(v.body, digest_size=8).hexdigest()) for v in siblings if not v.is_gone(expired_at)
        ]
        if shown:
            out[key] = tuple(sorted(shown))
    return out


def unsettled(world: World) -> list[tuple[str, str]]:
    """What keeps the cluster from being at rest: pairs of law and explanation, none if it is."""
    full = [p for p in world.processes() if p.host.view is None]
    out = [("convergence", f"{p.label} is still behind") for p in world.processes() if not p.replica.is_current]
    out += _differing(full)
    for process in world.processes():
        if process.host.view is not None:
            out += _partial(process, full, world.wall(latest=True))
        if process.host.disk.staged:
            out.append(("quiet", f"{process.label} has unsynced transactions"))
        if process.host.view is None and not _lone_in_doubt(process, full):
            out += _leftovers(world, process)
        twice = sorted(process.replica.acks.processes.suspects)
        out += [("clone", f"{process.label} still sees two of {name}") for name in twice]
        out += [("acks", f"{process.label} waits for {p.level} of {p.dot}") for p in _waiting(world, process)]
    return out


def _differing(full: list[Process]) -> list[tuple[str, str]]:
    out = []
    first = full[0]
    known, dump = first.replica.known.map, dump_of(first)
    for other in full[1:]:
        theirs = other.replica.known.map
        for inc in sorted(known.keys() | theirs.keys()):
            if known.get(inc) != theirs.get(inc):
                text = f"{first.label} knows {known.get(inc)} of {inc}, {other.label} {theirs.get(inc)}"
                out.append(("convergence", text))
        out += [("convergence", text) for text in _dumps(first.label, dump, other.label, dump_of(other))]
        out += _conflicts(first, other)
    return out


def _conflicts(one: Process, other: Process) -> list[tuple[str, str]]:
    """Nodes that know the same show the same conflicts, also those with a delete, which no dump shows."""
    a, b = one.replica.state.conflicts.keys(), other.replica.state.conflicts.keys()
    shown = {one.label: a - b, other.label: b - a}
    return [
        ("conflicts", f"only {label} shows a conflict at {Path.from_key(key)}: {process.replica.tree.get(key)!r}")
        for process, (label, keys) in zip((one, other), shown.items(), strict=True)
        for key in sorted(keys)
    ]


def _dumps(a: str, one: Dump, b: str, two: Dump) -> list[str]:
    return [
        f"{a} has {_text(one.get(k))} at {Path.from_key(k)}, {b} {_text(two.get(k))}"
        for k in sorted(one.keys() | two.keys())
        if one.get(k) != two.get(k)
    ]


def _text(entry: tuple[tuple[Dot, int, str], ...] | None) -> str:
    return " ".join(str(dot) for dot, _, _ in entry) if entry else "nothing"


def _partial(process: Process, full: list[Process], wall: int) -> list[tuple[str, str]]:
    """A partial replica shows just what its view has of a full one (it cannot tell when what expired may go)."""
    views = [pattern(p) for p in process.host.view or ()]
    whole = dump_of(full[0], wall)
    expected = {k: v for k, v in whole.items() if any(p.matches(Path.from_key(k)) for p in views)}
    return [("partial", text) for text in _dumps(full[0].label, expected, process.label, dump_of(process, wall))]


def _lone_in_doubt(process: Process, full: list[Process]) -> bool:
    """Whether its store lost something (R6) and there is nobody whom it could ask: it cannot call void what somebody
    may still hold who is not here, so what was superseded in these runs keeps its vector.
    """
    return process.replica.state.doubted and full == [process]


def _leftovers(world: World, process: Process) -> list[tuple[str, str]]:
    """Metadata that should have gone: vectors, and tombstones that no concurrent value holds back."""
    out = []
    wall = process.now().wall
    for key, siblings in process.replica.tree.scan():
        for version in siblings:
            if version.vector and not _may_stay_holed(world, process, version):
                out.append(("strip", f"{process.label} still has the vector of {version!r}{_why(process, key)}"))
        if not live_dots(siblings, wall) and not any(_may_stay_holed(world, process, v) for v in siblings):
            text = f"{process.label} still has {siblings!r} at {Path.from_key(key)}{_why(process, key)}"
            out.append(("forget", text))
    return out


def _may_stay_holed(world: World, process: Process, version: Version) -> bool:
    """Whether a vector, or a delete, rests on a run of somebody whose store lost its record (R6), so that he is no
    member, and who has not written since: his next write closes that run (R3).
    """
    known, members = process.replica.known, process.replica.members()
    holed = {name_of(inc) for inc in (version.inc, *version.vector) if not known[inc].is_whole}
    return world.doubted and any(name not in members | world.retired for name in holed)


def _why(process: Process, key: bytes) -> str:
    """The core's own explanation."""
    return "".join(f"; {line}" for line in process.replica.forget.explain(key))


def _waiting(world: World, process: Process) -> list[_Waiting]:
    members = len(process.replica.members() | {process.replica.name})
    return [
        p for p in world.watch.view(process).pending if not p.level.startswith("peer:") or int(p.level[5:]) < members
    ]


def check(world: World) -> None:
    """All laws at the end of a run."""
    for law, text in unsettled(world):
        world.broken(law, text)
    for process in world.processes():
        world.watch.check_mirror(process)
        check_known(world, process, final=True)
    for watcher in world.watchers.values():
        watcher.check()
    _check_writes(world)
    _check_conflicts(world)


def check_known(world: World, process: Process, *, final: bool = False) -> None:
    """What *known* promises: each tick in it has its effect here. What is known is shown, or something that superseded
    it is known, or it was a delete (or has expired) and may be forgotten.

    A process that breaks this has been told of ranges whose versions it never got. It would not ask for them any more,
    and would make others drop them; but at the end of a run that shows only if the last other holder happened to die in
    between. So this is looked at whenever ranges or verdicts were taken in.

    Of two processes of one name the older may be silent for so long that its run's ticks are void before it is back
    with them (R3), and so may be one that was retired while it lived. They are then set aside, which is judged at the
    end.
    """
    if process.host.view is not None:
        return  # what it lost by a verdict of a full peer may have been forgotten everywhere (R8)
    tree = process.replica.tree
    for write in without_effect(world, process.replica.known.map, lambda key: {v.dot for v in tree.get(key)}):
        if not final and name_of(write.dot.inc) in world.cloned | world.retired:
            continue
        where = Path.from_key(write.key)
        world.broken("known", f"{process.label} knows {write.dot} at {where}, and has nothing of it")


def without_effect(
    world: World, known: Mapping[Incarnation, Ticks], shown: Callable[[bytes], AbstractSet[Dot]]
) -> Iterator[Write]:
    """The writes that are known, but neither they nor anything that came after them is: what `known` claims falsely."""
    ledger, wall = world.ledger, world.wall(latest=True)
    # A store in doubt knows no more what it forgot in good order (R6), and hears of the older ticks only.
    forgotten = _forgotten(world) if world.doubted else frozenset()
    for key, dots in ledger.by_key.items():
        here = shown(key)
        for dot in dots:
            if dot in here or not has(known, dot):
                continue
            write = ledger.writes[dot]
            if any(s in here or s in forgotten or has(known, s) for s in write.successors) or write.deletes_at(wall):
                continue
            if not (_may_be_lost(world, write) or any(_is_forgotten_delete(world, s) for s in write.successors)):
                yield write


def _is_forgotten_delete(world: World, dot: Dot) -> bool:
    """Whether somebody has forgotten this delete already. Who was no member by then need not have heard of it: he hears
    of the ticks below it first, and of its own with the next session.
    """
    write = world.ledger.writes[dot]
    return write.deletes and any(
        has(process.replica.known.map, dot) and all(v.dot != dot for v in process.replica.tree.get(write.key))
        for process in world.processes()
        if process.host.view is None
    )


def _forgotten(world: World) -> frozenset[Dot]:
    """The deletes that some node has forgotten."""
    return frozenset(dot for host in world.hosts.values() for dot in host.disk.forgotten)


def _may_be_lost(world: World, write: Write) -> bool:
    """Whether nobody need have it: volatile, destroyed with all its copies, never stored and its writer is gone, or
    reported.
    """
    host = world.hosts.get(write.host)
    running = host is not None and host.process is not None and host.process.run == write.run
    lost = write.volatile or write.excused or not (write.durable or running)
    return lost or world.ledger.is_blurred(write.dot) or set_aside(world, write)


def _check_writes(world: World) -> None:
    """Laws 3 and 4, by the ledger."""
    full = [p for p in world.processes() if p.host.view is None]
    wall = world.wall()
    live: dict[bytes, frozenset[Dot]] = {}
    for key, siblings in full[0].replica.tree.scan():
        live[key] = live_dots(siblings, wall)
    known = None if world.doubted else full[0].replica.known.map
    ledger = world.ledger
    accounted = ledger.accounted(live, known, world.wall(latest=True), forgetful=world.may_forget_supersession)
    running = {(p.label, p.run) for p in world.processes()}
    for write in ledger.user_writes():
        owed = (write.durable and not write.volatile) or (write.host, write.run) in running
        if ledger.is_blurred(write.dot):
            continue
        if owed and not write.excused and write.dot not in accounted and not set_aside(world, write):
            levels = ", ".join(sorted(write.levels)) or "nothing"
            where = Path.from_key(write.key)
            world.broken(
                "lost", f"{write.dot} at {where} (acknowledged: {levels}) is gone, nothing that counts superseded it"
            )
    surely = ledger.accounted(live, known, 0)
    for key, dots in live.items():
        for dot in sorted(dots):
            write_or_none = ledger.writes.get(dot)
            newer = [s for s in write_or_none.successors if s in surely] if write_or_none else []
            if newer and not (ledger.is_blurred(dot) or world.may_forget_supersession):
                world.broken("resurrection", f"{dot} at {Path.from_key(key)} is shown, though {newer[0]} superseded it")
            if write_or_none is None and not key.startswith(b"\x02@\x00"):
                world.broken("unknown", f"nobody wrote {dot} at {Path.from_key(key)}")


def _check_conflicts(world: World) -> None:
    """A delete that raced a write stays beside the value until somebody writes over both: forgetting it would end a
    conflict that nobody decided. One node that still shows it is enough, and a node that forgot it before the value
    came may tell the others so (R2, R5).
    """
    forgotten = _forgotten(world)
    full = [p for p in world.processes() if p.host.view is None]
    wall = world.wall(latest=True)
    for key, dots in world.ledger.by_key.items():
        writes = [world.ledger.writes[d] for d in dots]
        held = {v.dot for p in full for v in p.replica.tree.get(key)}
        shown = [w for w in writes if w.dot in held and not w.deletes_at(wall)]
        for delete in (w for w in writes if w.deletes and w.dot not in held | forgotten):
            decided = any(delete.dot in w.past or delete.dot in w.aware for w in writes)
            if not decided and any(_raced(world, delete, value) for value in shown):
                where = Path.from_key(key)
                world.broken("conflict", f"{delete.dot} at {where} raced what is shown there, and is forgotten")


def _raced(world: World, delete: Write, value: Write) -> bool:
    """Whether neither writer knew of the other one's change, both being members in everybody's eyes by then."""
    apart = value.dot not in delete.past | delete.aware and delete.dot not in value.past | value.aware
    joined = [world.joined.get(write.host, write.at) for write in (delete, value)]
    earlier = max(joined) < min(delete.at, value.at)
    return apart and earlier and delete.durable and not (world.harmed or delete.volatile or value.volatile)


def set_aside(world: World, write: Write) -> bool:
    """Where a store was cloned or set back, or a living node retired, a write may end in a report or the quarantine,
    never silently.
    """
    names = {h.name for h in world.hosts.values() if h.disk.rewound} | world.cloned | world.retired
    if not names:
        return False
    text = str(write.dot)
    if any(text in (report.subject, report.text) or text in report.text for _, report in world.watch.reports):
        return True
    return any(q.version.dot == write.dot for p in world.processes() for q in p.replica.state.quarantine)


if TYPE_CHECKING:
    from .watch import Pending as _Waiting
