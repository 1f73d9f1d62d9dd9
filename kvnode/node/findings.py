"""What is wrong with a node, as findings: what, where, and the way out. Pure: facts in, findings out.

``kv doctor`` gathers the facts (:mod:`.examining`), so tests need none of the machines, disks and clocks in question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from kvnode.data.plural import counted

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or soon will be. `area` is a stable word, `what` one line with the place, `way_out` one
    line with what to do.
    """

    severity: Severity
    area: str
    what: str
    way_out: str


class DiskFacts(NamedTuple):
    """The folder of a store: free and total bytes, and how long a synced write took (None: it failed, see `error`)."""

    folder: str
    free_bytes: int
    total_bytes: int
    sync_ms: float | None
    error: str = ""


class ClockFacts(NamedTuple):
    """The clock: milliseconds since 1970 UTC, whether the system says that it is synchronised (None: it does not say),
    and by how much the clocks of peers are ahead.
    """

    wall_ms: int
    synchronised: bool | None
    skew_ms: Mapping[str, int]


PLAUSIBLE_SINCE_MS: Final = 1_735_689_600_000
"""2025-01-01: a clock before that was never set."""
SKEW_WARNING_MS: Final = 2_000
LOW_BYTES: Final = 200 << 20
FULL_BYTES: Final = 20 << 20
SLOW_SYNC_MS: Final = 500.0
LAG_WARNING: Final = 1_000
"""Changes that a linked peer may lack before that is worth a finding."""

_WAYS: Final[Mapping[str, tuple[str, Severity, str]]] = {
    "duplicate_session": (
        "duplicates",
        "error",
        "stop one of the two; give the clone a name and a data folder of its own",
    ),
    "copied_process": ("duplicates", "error", "stop the copy of this machine, or start it with an empty data folder"),
    "dot_clash": ("duplicates", "error", "find the copied machine and stop it; kv quarantine list has the other value"),
    "restored_store": ("store", "warning", "nothing to do if a backup was restored; else look at the disk"),
    "store_doubt": ("store", "error", "look at the disk; kv status says when the peers have made up for what was lost"),
    "store_damaged": (
        "store",
        "error",
        "it was written anew from memory; look at the disk, and replace it if it goes on",
    ),
    "memory_damaged": ("store", "error", "restart the node, and test the machine's memory"),
    "diverged": ("links", "error", "kv verify names the paths, kv diff shows what each holds; please report this"),
    "clock_skew": ("clock", "warning", "set that machine's clock, and have it synchronised (NTP)"),
    "bad_policy": ("configuration", "warning", "correct or delete that entry below @.policy"),
    "history_full": (
        "store",
        "warning",
        "ask for less of the past below @.history, or raise limits.max_history_bytes",
    ),
    "retired": ("links", "warning", "nothing to do if it was to come back; else see the message"),
    "incarnation_closed": ("duplicates", "warning", "nothing to do, unless it happens again: then look for a clone"),
}
"""Per kind of report: area, severity, way out. What other findings tell is left out, see :data:`_TOLD_ELSEWHERE`."""
_TOLD_ELSEWHERE: Final = frozenset({"quarantine", "store_failed"})


def of_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the status of a running node tells."""
    store = status["store"]
    if store["state"] != "ok":
        way = "see the way out in the message; writes wait in memory and are lost if the node stops"
        yield Finding("error", "disk", f"the store takes no writes: {store['error']}", way)
    if not status["current"]:
        what = "this node has not finished its first session with a peer after its store was in doubt"
        yield Finding("warning", "links", what, "link it with a peer that has everything; it goes on by itself")
    yield from of_peers(status["peers"])
    if count := status["conflicts"]:
        what = counted(count, "path has", "paths have")
        yield Finding("warning", "conflicts", f"{what} concurrent values", "kv conflicts list")
    if count := status["quarantine"]:
        what = f"{counted(count, 'value was', 'values were')} set aside"
        yield Finding("warning", "quarantine", what, "kv quarantine list, then restore or clear them")
    yield from of_reports(status["reports"])


def of_peers(peers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Links that do not stand, and peers that lack much."""
    told = {row["name"] for row in peers if row["state"] == "linked"} - {""}
    for row in peers:
        name, address, lag = row["name"], row["address"], row["lag"]
        who = f"{name} ({address})" if name and address else name or address
        if row["state"] == "linked" and lag is not None and lag > LAG_WARNING:
            what = f"{name} is linked, but {lag} changes are not known to be on its disk"
            yield Finding("warning", "lag", what, f"kv status --node {address} tells whether its store works")
        elif row["state"] not in ("linked", "elsewhere") and name not in told:
            told |= {name} - {""}
            behind = f"; it lacks {counted(lag, 'change')}" if lag else ""
            why = f": {row['error']}" if row.get("error") else ""
            yield Finding(
                "warning", "links", f"no link to {who}{why}{behind}", _way_to_link(str(row.get("error", "")), name)
            )


def _way_to_link(error: str, name: str) -> str:
    """By the words of the error; they are our own, or the system's for a failed connection."""
    ways = {
        "refused": "start the node there, or correct the port",
        "no such host": "correct the name, or look at DNS",
        "no answer": "look whether the machine is on, and at the firewall between",
        "belongs to cluster": "give both nodes the same --cluster",
        "protocol": "upgrade the older of the two nodes",
        "this node itself": "take this node's own address out of its peers",
    }
    found = next((way for word, way in ways.items() if word in error), "look whether it runs and can be reached")
    return f"{found}; if it is gone for good: kv node retire {name}" if name else found


def of_reports(reports: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the node has reported and nobody has resolved yet."""
    for row in reports:
        if row["kind"] in _TOLD_ELSEWHERE:
            continue
        area, severity, way = _WAYS.get(row["kind"], ("reports", "warning", "see the log of the node"))
        yield Finding(severity, area, row["text"], way)


def of_clock(clock: ClockFacts, max_skew_ms: int) -> Iterator[Finding]:
    """This machine's clock, alone and against those of the peers."""
    if clock.wall_ms < PLAUSIBLE_SINCE_MS:
        year = 1970 + clock.wall_ms // 31_556_952_000
        way = "set it, and have it synchronised (NTP) before the node starts"
        yield Finding("error", "clock", f"the clock of this machine says {year}: it was never set", way)
    elif clock.synchronised is False:
        way = "turn on NTP, such as: timedatectl set-ntp true"
        yield Finding("warning", "clock", "the system says that its clock is not synchronised", way)
    for name, skew in sorted(clock.skew_ms.items()):
        if abs(skew) > SKEW_WARNING_MS:
            severity: Severity = "error" if abs(skew) > max_skew_ms else "warning"
            side = "ahead of" if skew > 0 else "behind"
            what = f"the clock of {name} is {abs(skew) / 1000:.0f} s {side} this one"
            yield Finding(severity, "clock", what, "have both machines synchronised (NTP); one of them is wrong")


def of_disk(disk: DiskFacts) -> Iterator[Finding]:
    """Space, and whether and how fast the disk syncs."""
    if disk.error:
        way = "check that the folder is there, who owns it, and how the disk is mounted"
        yield Finding("error", "disk", f"{disk.folder}: {disk.error}", way)
    elif disk.free_bytes < LOW_BYTES:
        severity: Severity = "error" if disk.free_bytes < FULL_BYTES else "warning"
        what = f"{disk.folder}: {disk.free_bytes >> 20} MiB of {disk.total_bytes >> 20} MiB are free"
        yield Finding(
            severity, "disk", what, "free some space; kv store compact gives back what the store needs no more"
        )
    if disk.sync_ms is not None and disk.sync_ms > SLOW_SYNC_MS:
        what = f"{disk.folder}: syncing a small file took {disk.sync_ms:.0f} ms"
        yield Finding("warning", "disk", what, "every acknowledged write waits so long: a worn card, or a busy disk")


def of_versions(own: str | None, peers: Mapping[str, str | None]) -> Iterator[Finding]:
    """Different versions in one cluster."""
    others = {name: version for name, version in sorted(peers.items()) if version != own}
    if others:
        told = ", ".join(f"{name} {version or 'an older version'}" for name, version in others.items())
        what = f"this node runs {own or 'an unknown version'}, but {told}"
        yield Finding("warning", "versions", what, "fine during an upgrade; upgrade the others when it is done")


def of_deletes(reasons: Counter[str], tombstones: int) -> Iterator[Finding]:
    """Deletes that cannot be forgotten; `reasons` counts, per member, those that wait for it, alone or with others."""
    for name, count in sorted(reasons.items()):
        what = f"{count} of {tombstones} deletes are remembered until {name} confirms them"
        yield Finding(
            "warning", "deletes", what, f"bring {name} back, or, if it is gone for good: kv node retire {name}"
        )


def of_listening(address: str, *, loopback: bool, insecure: bool, reachable: str | None) -> Iterator[Finding]:
    """The node's own port. `reachable` says why a connection to it failed; None: it did not."""
    if reachable is not None:
        way = "look whether a firewall on this machine is in the way"
        yield Finding("error", "ports", f"the node listens on {address}, but cannot be reached there: {reachable}", way)
    if not loopback and insecure:
        what = f"{address} can be reached by others on the network, unencrypted and without authentication"
        yield Finding(
            "warning", "ports", what, "only for networks where you trust every machine; else listen on 127.0.0.1"
        )
