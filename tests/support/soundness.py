"""Whether the indexes of a replica say what its tree says."""

from __future__ import annotations

from kvnode.core.policy import in_conflict
from kvnode.core.replica import Replica
from kvnode.core.ticks import Incarnation, Known
from kvnode.core.tree import entry_print


def unsound(replica: Replica) -> list[str]:
    """What does not fit together inside a replica: its indexes must say what its tree says."""
    state, out = replica.state, []
    live: dict[Incarnation, dict[int, bytes]] = {}
    tombstones = fingerprint = 0
    conflicts = set()
    for key, siblings in replica.tree.scan():
        fingerprint ^= entry_print(siblings)
        if in_conflict(siblings):
            conflicts.add(key)
        for at, version in enumerate(siblings):
            live.setdefault(version.inc, {})[version.tick] = key
            tombstones += version.is_tombstone
            if version.key != key:
                out.append(f"{version!r} lies at {key.hex()}")
            if version.dot not in replica.known:
                out.append(f"{version.dot} is held and not known")
            if any(other.covers(version) for other in siblings[:at] + siblings[at + 1 :]):
                out.append(f"{version!r} is covered by a sibling")
            if (version.vector or version.is_tombstone) and key not in state.unsettled:
                out.append(f"{version!r} will never be stripped or forgotten")
    out += [f"durable and not known: {inc}" for inc, t in state.durable.map.items() if not t <= replica.known[inc]]
    for name, have, want in (
        ("live", {inc: {tick: at.get(tick) for tick in at} for inc, at in state.live.items()}, live),
        ("live ticks", {inc: at.count for inc, at in state.live.items()}, {inc: len(at) for inc, at in live.items()}),
        ("tombstones", state.tombstones, tombstones),
        ("conflicts", set(state.conflicts), conflicts),
        ("fingerprint", replica.tree.print_of_all, fingerprint),
        ("known", replica.known.hash(), Known(replica.known.map).hash()),
    ):
        if have != want:
            out.append(f"{name}: {have} instead of {want}")
    return out
