"""Metrics as values, and their Prometheus text form (exposition format 0.0.4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: its name, what it tells, and a sample for each set of labels (``()``: the only one).

    A counter's name ends in ``_total``; units are base units and stand in the name (``_seconds``, ``_bytes``).
    Raises ValueError for a name or label that Prometheus would not take.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Mapping[Labels, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a metric")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only they, end in _total")
        for labels in self.samples:
            for label, _ in labels:
                if not _LABEL.fullmatch(label):
                    raise ValueError(f"{self.name}: {label!r} is no name of a label")


def gauge(name: str, help: str, value: float | Mapping[Labels, float]) -> Metric:
    """A value that goes up and down."""
    return Metric(name, "gauge", help, value if isinstance(value, Mapping) else {(): value})


def counter(name: str, help: str, value: float | Mapping[Labels, float]) -> Metric:
    """A value that only grows while the process runs."""
    return Metric(name, "counter", help, value if isinstance(value, Mapping) else {(): value})


def render(metrics: Iterable[Metric]) -> str:
    """The text form. Raises ValueError if a name comes twice."""
    lines: list[str] = []
    seen: set[str] = set()
    for metric in metrics:
        if metric.name in seen:
            raise ValueError(f"the metric {metric.name} comes twice")
        seen.add(metric.name)
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in labels) + "}"


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    text = text.replace('"', '\\"') if quotes else text
    # Half a surrogate pair has no UTF-8 form.
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))


def metrics_of(status: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a node, from its status (see :func:`kvnode.node.status.status_of`)."""
    counters = status["counters"]
    store, peers = status["store"], [row for row in status["peers"] if row["name"]]
    linked = {row["name"]: False for row in peers} | {row["name"]: True for row in peers if row["state"] == "linked"}
    lags = {row["name"]: row["lag"] for row in peers if row["lag"] is not None}
    equal = {row["name"]: row["equal_at"] / 1000 for row in peers if row["equal_at"] is not None}
    diverged = {row["name"]: False for row in peers} | {row["name"]: True for row in peers if row["diverged"]}
    history = status["history"]
    kinds = Counter(row["kind"] for row in status["reports"])
    return [
        gauge("kvnode_info", "Always 1; the labels tell who this is.", {_info(status): 1}),
        gauge("kvnode_ready", "Whether this node should be used: 1 if it should.", not reasons_not_ready(status)),
        gauge("kvnode_entries", "Paths that hold a value.", status["entries"]),
        gauge("kvnode_conflicts", "Paths with concurrent values.", status["conflicts"]),
        gauge("kvnode_tombstones", "Deletes that are not forgotten yet.", status["tombstones"]),
        gauge("kvnode_quarantined_versions", "Dropped versions that are kept to be looked at.", status["quarantine"]),
        gauge("kvnode_members", "Nodes that belong to the cluster, this one included.", len(status["members"])),
        gauge("kvnode_peer_linked", "Whether a link to this peer is up.", _by("peer", linked)),
        gauge("kvnode_peer_lag_changes", "Changes that the peer is not known to hold on disk.", _by("peer", lags)),
        gauge("kvnode_peer_equal_timestamp_seconds", "When the peer last held the same.", _by("peer", equal)),
        gauge(
            "kvnode_peer_diverged", "Whether the peer knows the same and holds something else.", _by("peer", diverged)
        ),
        gauge("kvnode_history_versions", "Versions of the past on record, about.", history["versions"]),
        gauge("kvnode_history_bytes", "What they take, about.", history["bytes"]),
        counter("kvnode_history_dropped_total", "Versions that went for lack of room.", history["dropped"]),
        gauge("kvnode_reports", "Reports that nobody has resolved yet.", _by("kind", kinds)),
        gauge("kvnode_store_healthy", "Whether the store takes writes.", store["state"] == "ok"),
        gauge("kvnode_store_doubted", "Whether it lost something that no peer has made up for yet.", store["doubted"]),
        gauge("kvnode_store_pending_transactions", "Transactions that wait for the disk.", store["pending"]),
        counter("kvnode_store_commits_total", "Transactions written since the start.", store["commits"]),
        counter("kvnode_scrubbed_rows_total", "Stored records compared with memory.", counters["scrubbed_rows"]),
        counter("kvnode_store_faults_total", "Damaged records written again from memory.", counters["store_faults"]),
        counter("kvnode_memory_faults_total", "Faults of this machine's memory.", counters["memory_faults"]),
        counter("kvnode_store_failures_total", "Transactions that failed since the start.", store["failures"]),
    ]


def reasons_not_ready(status: Mapping[str, Any]) -> list[str]:
    """One line for each reason why this node should not be used; none: it is ready."""
    reasons = []
    if status["store"]["state"] != "ok":
        reasons.append(f"the store does not take writes: {status['store']['error']}")
    if not status["current"]:
        reasons.append("this node was away for long and has not finished its first session with a peer yet")
    return reasons


def _info(status: Mapping[str, Any]) -> Labels:
    return (("node", status["node"]), ("cluster", status["cluster"]), ("session", status["session"]))


def _by(label: str, values: Mapping[str, float]) -> dict[Labels, float]:
    return {((label, key),): value for key, value in sorted(values.items())}
