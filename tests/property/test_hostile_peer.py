"""A peer that says anything that is well-formed, true or not: no replica raises, and the honest ones still converge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core import messages as m
from kvnode.core.entry import Version, body_of
from kvnode.core.path import Path
from kvnode.core.stamp import MAX_STAMP, stamp_of
from kvnode.core.ticks import MAX_TICK, Dot, Ticks, incarnation, volatile_twin
from tests.support.replicas import WALL, Net, enc
from tests.support.soundness import unsound
from tests.support.strangers import Stranger, Z

Y = incarnation("Y", 2)
PATHS = ["x", "y", "x.y", "v.x", "@.nodes.A", "@.nodes.Y", "@.policy.p", "@.volatile.v", "@.partial.Y"]
VALUES: list[Any] = [
    None,
    1,
    "text",
    {"pattern": "x.#", "policy": "max"},
    {"pattern": "v.#"},
    {"inc": Y, "closes": [Z]},
]

_ticks = st.integers(1, 6) | st.just(MAX_TICK)
_spans = st.sets(st.integers(1, 9), max_size=5).map(lambda t: Ticks.of(*t).bounds) | st.just((1, MAX_TICK + 1))
_hashes = st.sampled_from([0, 1, 2**64 - 1])
_keys = st.sampled_from([b"", b"\xff", b"\x02", b"junk", *(Path.parse(p).key for p in PATHS)])


class Lies:
    """Strategies for messages to one replica: about strangers, its own incarnation, and what others did. Changes that
    another honest node has yet to make are left out: two changes under one dot are tested in test_settle.py.
    """

    def __init__(self, own: str, others: list[str]) -> None:
        about = st.sampled_from([own, volatile_twin(own), Z, Y, volatile_twin(Z)])
        self.incs = st.sampled_from([own, volatile_twin(own), *others, *map(volatile_twin, others), Z, Y])
        self.dots = st.builds(Dot, about, _ticks) | st.builds(Dot, st.sampled_from(others), st.integers(1, 2))
        self.ranges = st.dictionaries(self.incs, _spans, max_size=3)

    @property
    def version(self) -> st.SearchStrategy[Version]:
        return st.builds(
            lambda dot, path, value, stamp, expiry, vector: Version.make(
                dot,
                vector,
                body_of(Path.parse(path), stamp, None if value is None else enc(value), "z", None, expiry),
            ),
            self.dots,
            st.sampled_from(PATHS),
            st.sampled_from(VALUES),
            st.sampled_from([0, stamp_of(WALL), stamp_of(WALL + 10**9), MAX_STAMP]),
            st.sampled_from([None, None, 0, WALL, MAX_TICK - 1]),
            st.dictionaries(self.incs, _ticks, max_size=2),
        )

    @property
    def state(self) -> st.SearchStrategy[m.AckState]:
        links = st.none() | st.lists(st.tuples(st.sampled_from(["A", "B", "Y"]), st.integers(0, 3)), max_size=2).map(
            tuple
        )
        marks = st.none() | st.lists(self.incs, max_size=2, unique=True).map(tuple)
        names = st.sampled_from(["A", "B", "Z", "Y"])
        age = st.sampled_from([0, 5, 10**6, -5])
        return st.builds(
            m.AckState,
            names,
            st.integers(0, 3) | st.just(77),
            st.integers(-1, 9),
            self.ranges,
            marks,
            links,
            st.booleans(),
            age,
        )

    @property
    def message(self) -> st.SearchStrategy[m.Message]:
        def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
            return st.lists(of, max_size=3).map(tuple)

        pairs = st.tuples(_keys, _keys)
        return st.one_of(
            st.builds(m.Versions, some(self.version)),
            st.builds(m.Versions, some(self.version)),
            st.builds(m.Digest, self.ranges, _hashes, st.booleans()),
            st.builds(m.DigestAsk, st.none() | some(st.integers(0, 70))),
            st.builds(m.DigestBuckets, st.just((0,) * 64) | some(_hashes)),
            st.builds(m.DigestParts, some(st.integers(0, 63)), self.ranges),
            st.builds(m.End, self.ranges, st.integers(-1, 3), st.booleans()),
            st.builds(m.Ack, some(self.state)),
            st.builds(m.MoreLinks, some(st.tuples(st.sampled_from(["A", "B", "Y"]), st.integers(0, 3)))),
            st.builds(m.PrintAsk, some(pairs)),
            st.builds(m.PrintTell, some(pairs), some(st.tuples(_keys, _keys, _hashes)), some(self.leaf)),
            st.builds(m.PathAsk, some(st.tuples(_keys, some(self.dots)))),
            st.builds(m.PathTell, some(st.tuples(_keys, some(self.version), some(self.dots)))),
            st.builds(m.PathTell, some(self.version.flatmap(self._tell))),
            st.builds(m.Check, _hashes, _hashes, st.booleans()),
            st.builds(m.Event, st.just("Z"), st.integers(0, 3), st.integers(0, 3), st.just(("x",)), st.just(b"\x01")),
        )

    @property
    def leaf(self) -> st.SearchStrategy[Any]:
        return st.tuples(_keys, _keys, st.lists(st.tuples(_keys, _hashes), max_size=2).map(tuple))

    def _tell(self, version: Version) -> st.SearchStrategy[Any]:
        return st.tuples(st.just(version.key), st.just((version,)), st.lists(self.dots, max_size=2).map(tuple))


def honest() -> Net:
    """A and B with a few values, a conflict and a tombstone that waits."""
    net = Net("A", "B")
    net.link("A", "B")
    net.run()
    net.cut("A", "B")
    net.write("A", "x", "a")
    net.write("B", "x", "b")
    net.delete("A", "y")
    net.link("A", "B")
    net.run(100)
    return net


@given(st.data())
@settings(max_examples=max(20, settings().max_examples // 3))
def test_lies_harm_nobody(data: st.DataObject) -> None:
    play(data)


def play(data: st.DataObject) -> None:
    """One net with a liar or two; then the honest ones are left alone, and restarted."""
    net = honest()
    incs = {label: net[label].state.inc or Z for label in "AB"}
    for _ in range(data.draw(st.integers(1, 2))):
        stranger = Stranger(net, data.draw(st.sampled_from("AB")), data.draw(st.sampled_from(["Z", "Y", "A"])))
        lies = Lies(incs[stranger.to], [inc for label, inc in incs.items() if label != stranger.to])
        if data.draw(st.booleans()) and not stranger.is_cut:
            stranger.introduce()
        for step in range(data.draw(st.integers(1, 6))):
            if stranger.is_cut:
                break
            stranger.send(data.draw(lies.message))
            if data.draw(st.booleans()):
                label, path = data.draw(st.sampled_from("AB")), data.draw(st.sampled_from(["x", "y", "v.x"]))
                net.write(label, path, step)
            net.run(data.draw(st.sampled_from([0, 500, 20_000])))
        net._close(stranger.to, stranger.link)
        net[stranger.to].unlinked(stranger.link, net.now)
    assert unsound(net["A"]) == unsound(net["B"]) == []
    net.cut("A", "B")
    net.link("B", "A")
    net.run(100_000)
    assert net.converged()
    net.write("A", "last", 1)
    net.write("B", "word", 2)
    net.run(2_000)
    assert net.read("B", "last") == 1
    assert net.read("A", "word") == 2
    assert net.converged()
    for label in "AB":
        assert not [c for c in net.nodes[label].closed if c.link not in {s.link for s in net.strangers.values()}]
        store = net.crash(label)
        net.start(label, store=store)
        assert net[label].is_current
    net.link("A", "B")
    net.run(60_000)
    assert net.converged()
