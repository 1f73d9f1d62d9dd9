"""The Prometheus text form."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.node.metrics import Metric, counter, gauge, metrics_of, reasons_not_ready, render


def test_families_with_and_without_labels() -> None:
    text = render(
        [
            gauge("kvnode_entries", "Entries held.", 3),
            counter("kvnode_bytes_total", "Bytes\nsent \\ received.", {(("peer", 'a"\n\\b'),): 1.5, (): 2}),
            gauge("kvnode_lag_seconds", "Lag.", {}),
        ]
    )
    assert text == (
        "# HELP kvnode_entries Entries held.\n"
        "# TYPE kvnode_entries gauge\n"
        "kvnode_entries 3\n"
        "# HELP kvnode_bytes_total Bytes\\nsent \\\\ received.\n"
        "# TYPE kvnode_bytes_total counter\n"
        'kvnode_bytes_total{peer="a\\"\\n\\\\b"} 1.5\n'
        "kvnode_bytes_total 2\n"
        "# HELP kvnode_lag_seconds Lag.\n"
        "# TYPE kvnode_lag_seconds gauge\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-1, "-1"), (True, "1"), (1e300, "1e+300"), (0.1, "0.1"), (2.0, "2"),
        (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (1 << 60, "1.152921504606847e+18"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert render([gauge("a", "A.", value)]).splitlines()[-1] == f"a {text}"


def test_a_label_with_half_a_surrogate_pair_is_still_utf8() -> None:
    assert render([gauge("a", "A.", {(("b", "\udc80"),): 1})]).encode()


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("a b", "gauge", ()),
        ("1a", "gauge", ()),
        ("a_total", "gauge", ()),
        ("a", "counter", ()),
        ("a", "gauge", (("b-c", ""),)),
        ("a", "gauge", (("__b", ""),)),
    ],
)
def test_what_prometheus_would_not_take(name: str, kind: str, labels: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match=name):
        Metric(name, kind, "A.", {labels: 1})  # type: ignore[arg-type] # the wrong kind is the point


def test_a_name_comes_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        render([gauge("a", "A.", 1), gauge("a", "A.", 2)])


# -- of a node -----------------------------------------------------------------------------------------------


def status(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "node": "attic",
        "session": "00ff",
        "cluster": "home",
        "current": True,
        "peers": [],
        "members": ["attic", "cellar"],
        "entries": 7,
        "conflicts": 1,
        "tombstones": 2,
        "quarantine": 0,
        "store": {"state": "ok", "error": None, "doubted": False, "pending": 0, "commits": 12, "failures": 0},
        "reports": [],
        "history": {"versions": 5, "bytes": 700, "dropped": 2},
        "counters": {"scrubbed_rows": 300, "store_faults": 1, "memory_faults": 0},
    }
    return base | more


def samples(status: dict[str, Any]) -> list[str]:
    return [line for line in render(metrics_of(status)).splitlines() if not line.startswith("#")]


def test_a_healthy_node() -> None:
    assert reasons_not_ready(status()) == []
    lines = samples(status())
    assert 'kvnode_info{node="attic",cluster="home",session="00ff"} 1' in lines
    assert {"kvnode_history_bytes 700", "kvnode_history_versions 5", "kvnode_history_dropped_total 2"} <= set(lines)
    assert {"kvnode_ready 1", "kvnode_entries 7", "kvnode_store_commits_total 12", "kvnode_members 2"} <= set(lines)


def test_peers_are_told_once_each() -> None:
    unknown = {"lag": None, "equal_at": None, "diverged": False}
    rows = [
        {"name": "b", "address": "x:1", "state": "waiting", "lag": 5, "equal_at": None, "diverged": True},
        {"name": "b", "address": "y:1", "state": "linked", "lag": 5, "equal_at": 1_500, "diverged": False},
        {"name": "c", "address": "", "state": "unlinked"} | unknown,
        {"name": "", "address": "z:1", "state": "dialling"} | unknown,
    ]
    lines = samples(status(peers=rows))
    assert [line for line in lines if "_peer_" in line] == [
        'kvnode_peer_linked{peer="b"} 1',
        'kvnode_peer_linked{peer="c"} 0',
        'kvnode_peer_lag_changes{peer="b"} 5',
        'kvnode_peer_equal_timestamp_seconds{peer="b"} 1.5',
        'kvnode_peer_diverged{peer="b"} 1',
        'kvnode_peer_diverged{peer="c"} 0',
    ]


def test_reports_are_counted_by_kind() -> None:
    rows = [{"kind": "skew", "subject": "b"}, {"kind": "skew", "subject": "c"}, {"kind": "clone", "subject": "d"}]
    lines = samples(status(reports=rows))
    assert 'kvnode_reports{kind="clone"} 1' in lines
    assert 'kvnode_reports{kind="skew"} 2' in lines


def test_why_a_node_is_not_ready() -> None:
    store = {"state": "failing", "error": "disk full", "doubted": True, "pending": 3, "commits": 1, "failures": 2}
    bad = status(store=store, current=False)
    first, second = reasons_not_ready(bad)
    assert first == "the store does not take writes: disk full"
    assert "first session" in second
    assert {
        "kvnode_ready 0",
        "kvnode_store_healthy 0",
        "kvnode_store_doubted 1",
        "kvnode_store_failures_total 2",
    } <= set(samples(bad))
