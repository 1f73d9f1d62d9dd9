"""One watch at the node, step by step: passes, what changes meanwhile, contexts, overflow."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.client import protocol as p
from kvnode.client.wire import decode_answer, framed, reading_print
from kvnode.codec.values import pack, unpack
from kvnode.core.entry import Lease, Siblings, Version, body_of, ordered
from kvnode.core.path import Path, Pattern
from kvnode.core.policy import NEWEST, Policy
from kvnode.core.ticks import Dot, Known, Ticks
from kvnode.core.tree import Tree
from kvnode.node.rows import RowEncoder, Scope
from kvnode.node.watching import WatchStream

INC = "n~0123456789abcdef"
OTHER = "o~0123456789abcdef"


class Node:
    """A tree, what is known, and one watch on it."""

    is_current = True

    def __init__(self, credits: int = 1000, scope: Scope | None = None, **options: Any) -> None:
        self.tree = Tree()
        self.known = Known()
        self.tick = 0
        self.watch = WatchStream(7, credits, scope or Scope(Path()), self, RowEncoder(self, lambda: 0), **options)

    def policy_of(self, path: tuple[str | int, ...]) -> Policy:
        return NEWEST

    def write(self, text: str, value: object | None, *, inc: str = INC, beside: Siblings = ()) -> Version:
        self.tick += 1
        path = Path.parse(text)
        body = body_of(path, self.tick << 16, None if value is None else pack(value))
        version = Version.make(Dot(inc, self.tick), {}, body)
        self.known.add(inc, self.tick)
        self.put(path, ordered((version, *beside)))
        return version

    def put(self, path: Path, siblings: Siblings) -> None:
        self.tree.put(path.key, siblings)
        if self.watch.scope.holds(path.key, siblings):
            self.watch.notify(path.key, siblings)

    def turn(self) -> list[Any]:
        """What one turn sends: rows as (path, value), anything else as the message."""
        sent: list[Any] = []

        def emit(message: p.Message) -> int:
            payload = framed(message)[4:]
            read: Any = decode_answer(payload)
            sent.extend(map(shown, read.rows) if isinstance(read, p.Rows) else [read])
            return len(payload)

        if self.watch.ready:
            self.watch.produce(emit)
        return sent

    def turns(self) -> list[Any]:
        sent: list[Any] = []
        while self.watch.ready:
            sent += self.turn()
        return sent


def shown(row: p.Row) -> tuple[str, object]:
    if not row.siblings:
        return str(Path(row.path or ())), "gone"
    body = row.siblings[0].body
    return str(Path(body.path)), unpack(bytes(body.value)) if row.live else None


FULL = p.Begin(7, p.FULL)


def marker(*ranges: int, whole: bool = True, print_: int | None = None) -> p.Marker:
    return p.Marker(7, {INC: ranges} if ranges else {}, whole, print_)


def test_a_lease_is_sent_again_to_who_resumes_because_it_may_be_stale_by_now() -> None:
    node = Node()
    leased = body_of(Path.parse("a"), 1 << 16, pack(1), lease=Lease("n", 1_000))
    node.known.add(INC, 1)
    node.put(Path.parse("a"), (Version.make(Dot(INC, 1), {}, leased),))
    node.tick = 1
    node.write("b", 2)
    node.watch.begin(p.DELTA, node.known.copy())
    assert [item for item in node.turns() if isinstance(item, tuple)] == [("a", 1)]


def test_a_snapshot_leaves_out_what_has_no_value() -> None:
    node = Node()
    node.write("b", 1)
    node.write("a", 2)
    node.write("c", None)
    assert not node.watch.ready, "it waits for begin()"
    node.watch.begin(p.FULL)
    assert node.turns() == [FULL, ("a", 2), ("b", 1), marker(1, 4)]


def test_before_it_begins_nothing_is_kept() -> None:
    for latest in (False, True):
        node = Node(latest=latest)
        node.write("a", 1)
        assert node.turns() == []


def test_changes_behind_the_pass_follow_the_marker_whose_context_leaves_them_out() -> None:
    node = Node(credits=1)
    for path in "abc":
        node.write(path, 0)
    node.watch.begin(p.FULL)
    assert node.turn() == [FULL, ("a", 0)]
    node.write("a", 1)
    node.write("a", 2)
    node.write("c", 3)
    node.write("d", 4)
    node.watch.grant(10)
    assert node.turns() == [("b", 0), ("c", 3), ("d", 4), marker(1, 4), ("a", 2)]


def test_without_such_changes_the_context_is_what_is_known_at_the_end() -> None:
    node = Node(credits=1)
    for path in "ab":
        node.write(path, 0)
    node.watch.begin(p.FULL)
    assert node.turn() == [FULL, ("a", 0)]
    node.write("c", 1)
    node.watch.grant(10)
    assert node.turns() == [("b", 0), ("c", 1), marker(1, 4)]


def test_a_node_in_doubt_claims_only_what_it_knew_at_the_start() -> None:
    """Its changes are notified later (R5)."""
    node = Node(credits=1)
    for path in "ab":
        node.write(path, 0)
    node.is_current = False
    node.watch.begin(p.RESET, reason="behind")
    assert node.turn() == [p.Begin(7, p.RESET, "behind"), ("a", 0)]
    node.known.add(OTHER, 1)
    node.watch.grant(10)
    assert node.turns() == [("b", 0), marker(1, 3)]


def test_live_every_value_in_order() -> None:
    node = Node()
    node.watch.begin(p.FULL)
    assert node.turns() == [FULL, marker()]
    for value in (1, 2, None, 3):
        node.write("a", value)
    node.put(Path.parse("a"), ())
    assert node.turns() == [("a", 1), ("a", 2), ("a", None), ("a", 3), ("a", "gone")]


def test_latest_sends_the_newest_of_each_path() -> None:
    node = Node(latest=True)
    node.watch.begin(p.FULL)
    node.turns()
    for value in range(5):
        node.write("a", value)
        node.write("b", value)
    assert node.turns() == [("a", 4), ("b", 4)]


def test_a_refreshed_context_comes_only_when_all_was_sent() -> None:
    node = Node(credits=2, refresh_after=2)
    node.watch.begin(p.FULL)
    node.turns()
    for value in range(3):
        node.write("a", value)
    assert node.turns() == [("a", 0), ("a", 1)]
    node.known.add(OTHER, 5)
    node.watch.grant(5)
    refreshed = p.Marker(7, {INC: (1, 4), OTHER: (5, 6)}, False)
    assert node.turns() == [("a", 2), refreshed]
    node.write("a", 3)
    assert node.turns() == [("a", 3)]
    node.write("a", 4)
    assert node.turns() == [("a", 4), marker(1, 6, whole=False)], "only what is new"


def test_a_node_in_doubt_refreshes_nothing() -> None:
    node = Node(refresh_after=1)
    node.watch.begin(p.FULL)
    node.turns()
    node.is_current = False
    node.write("a", 1)
    assert node.turns() == [("a", 1)]


def test_a_resume_sends_what_has_any_dot_outside_the_context_and_the_fingerprint() -> None:
    node = Node()
    old = node.write("a", 1)
    node.write("b", 2)
    both = node.write("c", 3)
    node.write("c", 4, inc=OTHER, beside=(both,))
    node.write("d", None)
    known = Known({INC: Ticks((1, 4))})
    node.watch.begin(p.DELTA, known)
    print_ = 0
    for key, siblings in node.tree.scan():
        print_ ^= reading_print(key, [v.dot for v in siblings if not v.is_tombstone])
    expected = p.Marker(7, {INC: (1, 4, 5, 6), OTHER: (4, 5)}, True, print_)
    assert node.turns() == [p.Begin(7, p.DELTA), ("c", 4), ("d", None), expected]
    assert print_ != reading_print(Path.parse("a").key, [old.dot])


def test_a_full_queue_is_a_gap_and_a_new_pass() -> None:
    node = Node(credits=2, max_queue=3)
    node.write("b", 0)
    node.watch.begin(p.FULL)
    assert node.turns() == [FULL, ("b", 0), marker(1, 2)]
    node.watch.credits = 0
    for value in range(3):
        node.write("a", value)
    assert not node.watch.ready
    node.write("a", 3)
    reason = "the watcher was too slow: more than 3 changes were waiting"
    assert node.turns() == [p.Begin(7, p.GAP, reason)], "the gap is told without credits"
    node.write("a", 4)
    node.watch.grant(10)
    assert node.turns() == [("a", 4), ("b", 0), marker(1, 7)]
    assert node.watch.gaps == 1


def test_latest_has_no_gap_but_a_new_pass() -> None:
    node = Node(credits=1, latest=True, max_queue=2)
    node.watch.begin(p.FULL)
    node.turns()
    node.watch.credits = 0
    for path in "abc":
        node.write(path, 1)
    node.watch.grant(10)
    assert node.turns() == [FULL, ("a", 1), ("b", 1), ("c", 1), marker(1, 4)]


@pytest.mark.parametrize("latest", [False, True])
def test_too_many_changes_behind_a_pass_begin_it_anew(latest: bool) -> None:
    node = Node(credits=1, max_behind=2, latest=latest)
    for path in ("a", "b", "c", "z"):
        node.write(path, 0)
    node.watch.begin(p.FULL)
    assert node.turn() == [FULL, ("a", 0)]
    node.watch.grant(2)
    assert node.turn() == [("b", 0), ("c", 0)]
    for path in "abc":
        node.write(path, 1)
    node.watch.grant(10)
    begin = FULL if latest else p.Begin(7, p.GAP, "more than 2 entries changed during the snapshot")
    assert node.turns() == [begin, ("a", 1), ("b", 1), ("c", 1), ("z", 0), marker(1, 8)]


def test_what_followed_a_long_pass_does_not_count_as_slowness() -> None:
    node = Node(credits=1, max_queue=1)
    for path in ("a", "b", "z"):
        node.write(path, 0)
    node.watch.begin(p.FULL)
    assert node.turn() == [FULL, ("a", 0)]
    node.watch.grant(1)
    assert node.turn() == [("b", 0)]
    for path in "ab":
        node.write(path, 1)
    node.watch.grant(1)
    assert node.turn() == [("z", 0)]
    node.watch.grant(1)
    assert node.turn() == [marker(1, 4)]
    node.write("a", 2)
    node.watch.grant(10)
    assert node.turns() == [("a", 1), ("b", 1), ("a", 2)]
    node.write("a", 3)
    node.write("a", 4)
    assert node.turns()[0] == p.Begin(7, p.GAP, "the watcher was too slow: more than 1 changes were waiting")


def test_only_the_scope_is_sent() -> None:
    node = Node(scope=Scope(Path.parse("x"), Pattern("x.+")))
    node.write("x.a", 1)
    node.write("x", 2)
    node.write("x.a.b", 3)
    node.watch.begin(p.FULL)
    assert node.turns() == [FULL, ("x.a", 1), marker(1, 4)]
    node.write("x.b", 4)
    node.write("y.b", 5)
    node.put(Path.parse("x.b"), ())
    assert node.turns() == [("x.b", 4), ("x.b", "gone")]


def test_large_rows_go_in_frames_of_their_own_and_cost_more() -> None:
    node = Node(credits=1000)
    for n in range(3):
        node.write(f"a.:{n}", "x" * 100_000)
    node.watch.begin(p.FULL)
    assert len(node.turn()) == 2
    assert 1000 - node.watch.credits == 1 + 100_000 // 1024
