"""Law 5 and R10: a watcher that is disconnected at random, and resumes on either of two nodes, sees no gap, no
duplicate, and no reading that goes back. Real replicas and the real bytes, but no I/O.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.client.items import Change, Gap, Uptodate
from kvnode.client.mirror import Item, Mirror
from kvnode.client.protocol import DELTA, FULL, RESET, Begin, Marker, Message, Rows
from kvnode.client.wire import cost_of, decode_answer, framed, known_of
from kvnode.codec.framing import FrameDecoder
from kvnode.codec.values import pack
from kvnode.core.effects import Change as Write
from kvnode.core.effects import Close, Notify, Now, Persist, Send
from kvnode.core.path import ROOT, Path, Pattern
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot
from kvnode.node.rows import RowEncoder, Scope
from kvnode.node.watching import WatchIndex, WatchStream

NAMES = ("a", "b")
SEEDS = 4_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 200
PATHS = [Path.parse(text) for text in ("x", "x.y", "x.:1", "x.y.z", "other")]


class Cluster:
    """Two replicas, their link, and the watches on them."""

    def __init__(self) -> None:
        self.time = 1_000
        bits = iter(range(1, 1 << 30))
        self.nodes = {
            name: Replica(name, session=next(bits), random_bits=lambda n: next(bits), now=self.now) for name in NAMES
        }
        self.encoders = {name: RowEncoder(node, lambda: self.time) for name, node in self.nodes.items()}
        self.watches = {name: WatchIndex() for name in NAMES}
        self.wires: dict[str, deque[tuple[int, Any]]] | None = None
        self.link_id = 0
        for name in NAMES:
            self.nodes[name].set_addresses([], self.now)
        self.link()
        self.settle()

    @property
    def now(self) -> Now:
        return Now(self.time, self.time)

    def write(self, name: str, path: Path, value: object | None) -> None:
        packed = None if value is None else pack(value)
        self.nodes[name].propose([Write(path, packed)], self.now)
        self.execute(name)

    def execute(self, name: str) -> None:
        node = self.nodes[name]
        while effects := node.take_effects():
            for effect in effects:
                match effect:
                    case Persist():
                        node.persisted(effect.token, self.now)
                    case Notify(key, siblings):
                        for watch in self.watches[name].of(key, siblings):
                            watch.notify(key, siblings)
                    case Send(_, seq, message) if self.wires is not None:
                        self.wires[NAMES[name == "a"]].append((seq, message))
                    case Close():
                        raise AssertionError(effect)

    def link(self) -> None:
        self.link_id += 1
        self.wires = {name: deque() for name in NAMES}
        for name in NAMES:
            self.nodes[name].linked(self.link_id, self.now, dialled=name == "a")
            self.execute(name)

    def cut(self) -> None:
        self.wires = None
        for name in NAMES:
            self.nodes[name].unlinked(self.link_id, self.now)
            self.execute(name)

    def deliver(self, count: int) -> bool:
        """Carry some messages; says whether there were any."""
        moved = False
        for name in NAMES * count:
            if self.wires is not None and self.wires[name]:
                seq, message = self.wires[name].popleft()
                self.nodes[name].receive(self.link_id, seq, message, self.now)
                self.execute(name)
                moved = True
        return moved

    def settle(self) -> None:
        """Run until nothing happens any more."""
        for _ in range(40):
            while self.deliver(10):
                pass
            self.time += 400
            for name in NAMES:
                if self.nodes[name].next_deadline <= self.time:
                    self.nodes[name].wake(self.now)
                self.execute(name)


class Watcher:
    """A client's watch, with the judgement of what it is told."""

    def __init__(self, cluster: Cluster, scope: Scope, latest: bool, max_queue: int, window: int) -> None:
        self.cluster = cluster
        self.scope = scope
        self.options: dict[str, Any] = {"latest": latest, "max_queue": max_queue, "refresh_after": 3}
        self.window = window
        self.mirror = Mirror()
        self.at: str | None = None
        self.stream: WatchStream | None = None
        self.wire: deque[bytes] = deque()
        self.readings: dict[Path, Change] = {}
        self.past: dict[Path, set[Dot]] = {}
        self.order: list[Path] | None = []
        self.gaps = 0
        self.markers = 0
        self.resetting = False
        self.current = False
        self.rows = 0
        self.resyncs = 0
        self.steps: list[tuple[Path, object]] = []

    def connect(self, name: str) -> None:
        self.disconnect()
        if self.order is not None:
            self.order = []  # a snapshot that broke off begins anew
        cluster = self.cluster
        ranges, mirrored = self.mirror.request()
        self.stream = WatchStream(
            7, self.window, self.scope, cluster.nodes[name], cluster.encoders[name], **self.options
        )
        self.at = name
        cluster.watches[name].add(self.stream)
        context = None if ranges is None else known_of(ranges)
        if context is None:
            self.stream.begin(FULL)
        elif context <= cluster.nodes[name].known:
            self.stream.begin(DELTA if mirrored else FULL, context)
        else:
            self.stream.begin(RESET, reason="the node is behind")

    def disconnect(self) -> None:
        if self.at is not None and self.stream is not None:
            self.cluster.watches[self.at].remove(self.stream)
        self.at = self.stream = None
        self.wire.clear()

    def emit(self, message: Message) -> int:
        self.wire.append(framed(message))
        return len(self.wire[-1]) - 4

    def produce(self, turns: int) -> None:
        for _ in range(turns):
            if self.stream is not None and self.stream.ready:
                self.stream.produce(self.emit)

    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            for payload in FrameDecoder().feed(self.wire.popleft()):
                self._message(payload)

    def _message(self, payload: bytes) -> None:
        assert self.stream is not None
        match decode_answer(payload):
            case Begin() as begin:
                self._items(self.mirror.begin(begin))
            case Rows(_, rows):
                self.rows += len(rows)
                self._items(self.mirror.rows(rows))
                self.stream.grant(cost_of(len(rows), len(payload)))
            case Marker() as marker:
                items, resync = self.mirror.marker(marker)
                self._items(items)
                if resync:
                    self.resyncs += 1
                    self.stream.begin(FULL)
            case other:
                raise AssertionError(other)

    def _items(self, items: Sequence[Item]) -> None:
        for item in items:
            match item:
                case Gap():
                    self.gaps += 1
                    self.current = False
                    self.order = None
                    self.resetting = self.resetting or "behind" in item.reason
                case Uptodate():
                    assert not self.current, "a marker without a snapshot"
                    self.markers += 1
                    self.current = True
                    self.resetting = False
                    self.order = None
                case Change():
                    self._change(item)

    def _change(self, change: Change) -> None:
        path = change.path
        old = self.readings.get(path)
        before = old.dots if old else frozenset()
        assert (change.dots, change.conflict) != (before, old.conflict if old else False), f"{change} came twice"
        assert not change.deleted or old is not None, f"{change}: there was nothing to delete"
        past = self.past.setdefault(path, set())
        assert self.resetting or not change.dots & past, f"{path} went back to {change.dots & past}"
        past |= before - change.dots
        if self.resetting:  # readings may go back, and the gap said so
            past.clear()
        if self.order is not None:
            assert not self.order or self.order[-1].key < path.key, "the snapshot is out of order"
            self.order.append(path)
        self.steps.append((path, change.value))
        if change.deleted:
            del self.readings[path]
        else:
            self.readings[path] = change

    def finish(self) -> None:
        """Run until the watcher has been told all; then it must show what the node shows."""
        self.cluster.settle()
        if self.at is None:
            self.connect("a")
        while self.wire or (self.stream is not None and self.stream.ready):
            self.produce(1)
            self.take(1)
        assert self.at is not None
        node = self.cluster.nodes[self.at]
        shown = {
            Path.from_key(key): frozenset(v.dot for v in siblings if not v.is_tombstone)
            for key, siblings in node.tree.scan()
            if self.scope.holds(key, siblings) and any(not v.is_tombstone for v in siblings)
        }
        assert {path: change.dots for path, change in self.readings.items()} == shown
        assert self.current, "the last snapshot has no marker"


SCOPES = [
    Scope(ROOT),
    Scope(Path.parse("x")),
    Scope(ROOT, Pattern("x.+")),
    Scope(Path.parse("x"), depth=1),
    Scope(Path.parse("other")),
]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(PATHS), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.sampled_from(PATHS)),
        st.tuples(st.just("connect"), st.sampled_from(NAMES)),
        st.tuples(st.just("disconnect")),
        st.tuples(st.just("produce"), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("cut")),
        st.tuples(st.just("link")),
        st.tuples(st.just("deliver"), st.integers(1, 20)),
        st.tuples(st.just("settle")),
    ),
    max_size=60,
)


def run(cluster: Cluster, watcher: Watcher, script: Sequence[Sequence[Any]]) -> None:
    for what, *args in script:
        match what:
            case "write":
                cluster.write(args[0], args[1], args[2])
            case "delete":
                cluster.write(args[0], args[1], None)
            case "cut" if cluster.wires is not None:
                cluster.cut()
            case "link" if cluster.wires is None:
                cluster.link()
            case "deliver":
                cluster.deliver(args[0])
            case "settle":
                cluster.settle()
            case "connect" | "disconnect" | "produce" | "take":
                getattr(watcher, what)(*args)
    if cluster.wires is None:
        cluster.link()
    watcher.finish()
    if not any(what == "delete" for what, *_ in script):
        assert watcher.resyncs == 0, "nothing was forgotten, so the context alone must tell what is new"


@settings(max_examples=max(200, settings.default.max_examples))
@given(
    steps,
    st.sampled_from(SCOPES),
    st.booleans(),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([1, 2, 1000]),
)
def test_no_gap_no_duplicate_nothing_goes_back(
    script: list[tuple[Any, ...]], scope: Scope, latest: bool, max_queue: int, window: int
) -> None:
    cluster = Cluster()
    run(cluster, Watcher(cluster, scope, latest, max_queue, window), script)


WEIGHTS = {
    "write": 10, "delete": 4, "connect": 1, "disconnect": 1, "produce": 10, "take": 8, "cut": 1, "link": 1,
    "deliver": 4, "settle": 1,
}  # fmt: skip


def draw(rng: random.Random, count: int) -> list[tuple[Any, ...]]:
    """A script in which much happens within a pass."""
    script: list[tuple[Any, ...]] = []
    for what in rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count):
        match what:
            case "write":
                script.append((what, rng.choice(NAMES), rng.choice(PATHS), rng.randrange(4)))
            case "delete":
                script.append((what, rng.choice(NAMES), rng.choice(PATHS)))
            case "connect":
                script.append((what, rng.choice(NAMES)))
            case "produce" | "take" | "deliver":
                script.append((what, rng.randrange(1, 4)))
            case _:
                script.append((what,))
    return script


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS // 4))
def test_many_seeds(first: int) -> None:
    """Longer histories, with changes in the midst of passes. The seed of a failure is in its message."""
    for seed in range(first, first + SEEDS // 4):
        rng = random.Random(seed)
        cluster = Cluster()
        queue, window = rng.choice([1, 3, 1000, 1000]), rng.choice([1, 1, 2, 1000])
        watcher = Watcher(cluster, rng.choice(SCOPES), rng.random() < 0.3, queue, window)
        try:
            run(cluster, watcher, draw(rng, rng.randrange(20, 200)))
        except AssertionError as err:
            raise AssertionError(f"seed {seed}: {err}") from err


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.integers(0, 3) | st.none()), max_size=40), st.integers(1, 5))
def test_a_connected_watcher_sees_every_value(writes: list[tuple[Path, int | None]], window: int) -> None:
    cluster = Cluster()
    watcher = Watcher(cluster, Scope(ROOT, Pattern("#")), False, 1000, window)
    watcher.connect("a")
    while not watcher.markers:
        watcher.produce(1)
        watcher.take(1)
    watcher.steps.clear()
    expected: list[tuple[Path, object]] = []
    present: set[Path] = set()
    for path, value in writes:
        cluster.write("a", path, value)
        if value is not None or path in present:
            expected.append((path, value))
        present = present | {path} if value is not None else present - {path}
    watcher.finish()
    got = [
        (path, None if value is not None and value.__class__.__name__ == "Absent" else value)
        for path, value in watcher.steps
        if path[:1] != ("@",)
    ]
    assert got == expected
    assert not watcher.gaps


def test_a_resume_sends_only_what_is_new() -> None:
    cluster = Cluster()
    watcher = Watcher(cluster, Scope(ROOT), False, 1000, 1000)
    for path in PATHS:
        cluster.write("a", path, 1)
    watcher.connect("a")
    watcher.finish()
    for name in ("b", "a", "b"):
        watcher.rows = 0
        watcher.connect(name)
        watcher.finish()
        assert watcher.rows == 0
    cluster.write("b", PATHS[2], 5)
    watcher.disconnect()
    cluster.write("b", PATHS[3], 5)
    cluster.settle()
    watcher.steps.clear()
    watcher.connect("a")
    watcher.finish()
    assert watcher.steps == [(PATHS[2], 5), (PATHS[3], 5)]
    assert watcher.rows == 2
    assert (watcher.gaps, watcher.resyncs, watcher.markers) == (0, 0, 1)


def test_a_delete_forgotten_while_away_is_reported() -> None:
    cluster = Cluster()
    watcher = Watcher(cluster, Scope(Path.parse("x")), False, 1000, 1000)
    cluster.write("a", PATHS[1], 1)
    cluster.write("a", PATHS[0], 2)
    cluster.settle()
    watcher.connect("a")
    watcher.finish()
    assert len(watcher.readings) == 2
    watcher.disconnect()
    cluster.write("b", PATHS[1], None)
    cluster.settle()
    assert not cluster.nodes["b"].tree.get(PATHS[1].key), "both nodes have forgotten the delete"
    watcher.connect("b")
    watcher.finish()
    assert list(watcher.readings) == [PATHS[0]]
    assert (watcher.gaps, watcher.resyncs, watcher.markers) == (0, 1, 1)


def test_a_delete_that_is_remembered_needs_no_second_pass() -> None:
    cluster = Cluster()
    watcher = Watcher(cluster, Scope(Path.parse("x")), False, 1000, 1000)
    cluster.write("a", PATHS[0], 1)
    cluster.write("a", PATHS[1], 2)
    cluster.settle()
    watcher.connect("a")
    watcher.finish()
    watcher.disconnect()
    cluster.cut()
    cluster.write("a", PATHS[0], None)
    watcher.connect("a")
    while watcher.wire or (watcher.stream is not None and watcher.stream.ready):
        watcher.produce(1)
        watcher.take(1)
    assert list(watcher.readings) == [PATHS[1]]
    assert (watcher.gaps, watcher.resyncs) == (0, 0)


def test_a_node_that_is_behind_says_so() -> None:
    cluster = Cluster()
    watcher = Watcher(cluster, Scope(Path.parse("x")), False, 1000, 1000)
    cluster.write("a", PATHS[0], 1)
    cluster.settle()
    cluster.cut()
    cluster.write("a", PATHS[0], 2)
    watcher.connect("a")
    watcher.produce(9)
    watcher.take(9)
    watcher.connect("b")
    watcher.produce(9)
    watcher.take(9)
    assert watcher.gaps == 1
    assert watcher.readings[PATHS[0]].value == 1
    cluster.link()
    watcher.finish()
    assert watcher.readings[PATHS[0]].value == 2


def test_a_slow_watcher_is_told_of_the_gap() -> None:
    cluster = Cluster()
    slow = Watcher(cluster, Scope(Path.parse("x")), False, 5, 1000)
    latest = Watcher(cluster, Scope(Path.parse("x")), True, 5, 1000)
    for watcher in (slow, latest):
        watcher.connect("a")
        watcher.produce(9)
        watcher.take(9)
    for value in range(20):
        cluster.write("a", PATHS[0], value)
    slow.finish()
    latest.finish()
    assert (slow.gaps, latest.gaps) == (1, 0)
    assert [value for _, value in latest.steps] == [19]
    assert slow.readings[PATHS[0]].value == 19
