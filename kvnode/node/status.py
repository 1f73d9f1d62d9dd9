"""The state of a node as plain data, for ``kv status``, health and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from kvnode.core.replica import Replica
from kvnode.core.ticks import Known, is_volatile
from kvnode.data.versions import is_compiled

from .reports import Reports
from .writer import Writer


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A peer as the connections tell it. `state` is ``linked``, ``greeting``, ``dialling``, ``waiting`` (for the next
    attempt) or ``elsewhere`` (linked by another address); `error` the last failure, empty if there is none; `skew_ms`
    how far its clock is ahead.
    """

    name: str
    address: str
    state: str
    error: str = ""
    skew_ms: int | None = None


def status_of(replica: Replica, store: Writer, reports: Reports, peers: Sequence[PeerRow]) -> dict[str, Any]:
    """The whole status. Members that nobody dials or accepts are listed as ``unlinked``."""
    listed = {row.name for row in peers}
    rows = [_peer(replica, row) for row in peers]
    for name in sorted(replica.members() - listed - {replica.name}):
        rows.append(_peer(replica, PeerRow(name, "", "unlinked")))
    state = replica.state
    return {
        "node": replica.name,
        "session": f"{replica.session:016x}",
        "incarnation": state.inc,
        "software": software_of(replica.features),
        "compiled": is_compiled(),
        "cluster": replica.cluster,
        "current": replica.is_current,
        "peers": rows,
        "members": sorted(replica.members()),
        "entries": len(replica.tree) - _only_tombstones(replica),
        "conflicts": len(state.conflicts),
        "tombstones": state.tombstones,
        "quarantine": len(state.quarantine),
        "store": {
            "state": "ok" if store.failure is None else "failing",
            "error": store.failure,
            "doubted": state.doubted,
            "pending": store.pending,
            "commits": store.commits,
            "failures": store.failures,
        },
        "history": store.past_use.row(),
        "reports": [asdict(row) for row in reports],
    }


_SOFTWARE: Final = "software="


def software_feature(version: str) -> str:
    """How a node tells its peers which version it runs, among the features of its hello."""
    return f"{_SOFTWARE}{version}"


def software_of(features: Iterable[str]) -> str | None:
    """The version that features tell; None for a node of a version that does not tell."""
    return next((text.removeprefix(_SOFTWARE) for text in features if text.startswith(_SOFTWARE)), None)


def lag(replica: Replica, name: str) -> int | None:
    """How many changes known here the node `name` is not known to hold durably; None if it never said anything."""
    held = replica.acks.processes.current(name)
    return None if held is None else _missing(replica.known, held.known)


def _missing(known: Known, held: Known) -> int:
    return sum(len(ticks - held[inc]) for inc, ticks in known.map.items() if not is_volatile(inc))


def _peer(replica: Replica, row: PeerRow) -> dict[str, Any]:
    out = {"name": row.name, "address": row.address, "state": row.state, "lag": lag(replica, row.name)}
    links = [link for link in replica.links.values() if link.name and link.name == row.name]
    at, result = max((link.compared for link in links if link.compared), default=(None, None))
    out |= {"compared_at": at, "comparison": result}
    out["equal_at"] = max((link.equal_at for link in links if link.equal_at is not None), default=None)
    out["diverged"] = any(link.differing >= replica.limits.diverged_checks for link in links)
    out["skew_ms"] = row.skew_ms
    out["software"] = next((text for link in links if (text := software_of(link.features))), None)
    return out | {"error": row.error} if row.error else out


def _only_tombstones(replica: Replica) -> int:
    """Paths that hold nothing but tombstones: only such as are not settled yet can be among them."""
    tree = replica.tree
    return sum(1 for key in replica.state.unsettled if (s := tree.get(key)) and all(v.is_tombstone for v in s))
