"""What is wrong with a node, from facts: each finding has its place, its severity and a way out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kvnode.node import findings
from kvnode.node.findings import ClockFacts, DiskFacts, Finding

GOOD_TIME = findings.PLAUSIBLE_SINCE_MS + 1
PEER = {"name": "b", "address": "h:1", "state": "linked", "lag": 0, "error": ""}


def status(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "store": {"state": "ok", "error": None},
        "current": True,
        "peers": [],
        "conflicts": 0,
        "quarantine": 0,
        "reports": [],
    }
    return base | more


def only(found: Any) -> Finding:
    (finding,) = found
    assert isinstance(finding, Finding)
    assert finding.way_out
    assert "\n" not in finding.what + finding.way_out
    return finding


def test_a_healthy_node_has_none() -> None:
    assert list(findings.of_status(status(peers=[PEER]))) == []
    assert list(findings.of_clock(ClockFacts(GOOD_TIME, True, {"b": 500}), 60_000)) == []
    assert list(findings.of_clock(ClockFacts(GOOD_TIME, None, {}), 60_000)) == []
    assert list(findings.of_disk(DiskFacts("/d", 1 << 40, 1 << 41, 3.0))) == []
    assert list(findings.of_versions("1.0", {"b": "1.0"})) == []
    assert list(findings.of_deletes(Counter(), 3)) == []
    assert list(findings.of_listening("127.0.0.1:1", loopback=True, insecure=False, reachable=None)) == []


@pytest.mark.parametrize(
    ("more", "severity", "area", "word"),
    [
        ({"store": {"state": "failing", "error": "disk full"}}, "error", "disk", "disk full"),
        ({"current": False}, "warning", "links", "first session"),
        ({"conflicts": 3}, "warning", "conflicts", "3 paths have"),
        ({"conflicts": 1}, "warning", "conflicts", "1 path has concurrent values"),
        ({"quarantine": 2}, "warning", "quarantine", "2 values were"),
        ({"quarantine": 1}, "warning", "quarantine", "1 value was"),
    ],
)
def test_the_status(more: dict[str, Any], severity: str, area: str, word: str) -> None:
    found = only(findings.of_status(status(**more)))
    assert (found.severity, found.area) == (severity, area)
    assert word in found.what


@pytest.mark.parametrize(
    ("error", "way"),
    [
        ("h:1: connection refused", "start the node there"),
        ("h:1: no such host", "DNS"),
        ("h:1: no answer within 10 s", "firewall"),
        ("it belongs to cluster 'x', this node to 'y'", "--cluster"),
        ("it speaks protocol 2 to 2, this node 1 to 1", "upgrade"),
        ("it is this node itself", "own address"),
        ("something new", "can be reached"),
    ],
)
def test_why_there_is_no_link(error: str, way: str) -> None:
    found = only(findings.of_peers([PEER | {"state": "waiting", "error": error, "lag": 7}]))
    assert (found.severity, found.area) == ("warning", "links")
    assert found.what == f"no link to b (h:1): {error}; it lacks 7 changes"
    assert way in found.way_out
    assert "kv node retire b" in found.way_out


def test_a_peer_without_a_name_cannot_be_retired() -> None:
    found = only(findings.of_peers([PEER | {"name": "", "state": "waiting", "lag": None}]))
    assert found.what == "no link to h:1"
    assert "retire" not in found.way_out


def test_one_finding_a_peer() -> None:
    rows = [PEER | {"state": "waiting"}, PEER | {"state": "waiting", "address": "h:2"}, PEER | {"name": "c"}]
    assert only(findings.of_peers(rows)).what == "no link to b (h:1)"
    assert list(findings.of_peers([PEER, PEER | {"state": "waiting", "address": "h:2"}])) == []
    assert list(findings.of_peers([PEER | {"state": "elsewhere"}])) == []


def test_a_linked_peer_that_lacks_much() -> None:
    found = only(findings.of_peers([PEER | {"lag": findings.LAG_WARNING + 1}]))
    assert (found.area, "on its disk" in found.what) == ("lag", True)
    assert list(findings.of_peers([PEER | {"lag": findings.LAG_WARNING}])) == []


@pytest.mark.parametrize("kind", [*findings._WAYS, "of a later version"])
def test_each_report_is_a_finding(kind: str) -> None:
    found = only(findings.of_reports([{"kind": kind, "subject": "s", "text": "what happened"}]))
    assert found.what == "what happened"


def test_clones_are_errors() -> None:
    rows = [{"kind": "duplicate_session", "subject": "b", "text": "two live processes"}]
    assert (only(findings.of_reports(rows)).severity, only(findings.of_reports(rows)).area) == ("error", "duplicates")


def test_what_is_told_elsewhere_is_told_once() -> None:
    rows = [{"kind": kind, "subject": "s", "text": "t"} for kind in ("quarantine", "store_failed")]
    assert list(findings.of_reports(rows)) == []


def test_the_clock() -> None:
    never_set = only(findings.of_clock(ClockFacts(5_000, False, {}), 60_000))
    assert (never_set.severity, "1970" in never_set.what) == ("error", True)
    loose = only(findings.of_clock(ClockFacts(GOOD_TIME, False, {}), 60_000))
    assert (loose.severity, "not synchronised" in loose.what) == ("warning", True)
    ahead = only(findings.of_clock(ClockFacts(GOOD_TIME, True, {"b": 5_000}), 60_000))
    assert (ahead.severity, ahead.what) == ("warning", "the clock of b is 5 s ahead of this one")
    behind = only(findings.of_clock(ClockFacts(GOOD_TIME, True, {"b": -90_000}), 60_000))
    assert (behind.severity, behind.what) == ("error", "the clock of b is 90 s behind this one")


def test_the_disk() -> None:
    low = only(findings.of_disk(DiskFacts("/d", 100 << 20, 1 << 40, 3.0)))
    assert (low.severity, "100 MiB" in low.what) == ("warning", True)
    assert only(findings.of_disk(DiskFacts("/d", 1 << 20, 1 << 40, 3.0))).severity == "error"
    slow = only(findings.of_disk(DiskFacts("/d", 1 << 40, 1 << 41, 900.0)))
    assert "900 ms" in slow.what
    broken = only(findings.of_disk(DiskFacts("/d", 0, 0, None, "no such file or directory")))
    assert (broken.severity, broken.what) == ("error", "/d: no such file or directory")


def test_versions() -> None:
    found = only(findings.of_versions("1.1", {"b": "1.0", "c": None, "d": "1.1"}))
    assert found.what == "this node runs 1.1, but b 1.0, c an older version"


def test_deletes_that_wait_for_a_member_that_is_gone() -> None:
    first, second = findings.of_deletes(Counter({"c": 2, "b": 7}), 9)
    assert first.what == "7 of 9 deletes are remembered until b confirms them"
    assert second.way_out.endswith("kv node retire c")


def test_listening() -> None:
    closed = only(findings.of_listening("127.0.0.1:1", loopback=True, insecure=True, reachable="refused"))
    assert (closed.severity, "refused" in closed.what) == ("error", True)
    open_ = only(findings.of_listening("0.0.0.0:1", loopback=False, insecure=True, reachable=None))
    assert (open_.severity, "unencrypted" in open_.what) == ("warning", True)
