"""Versions that come in one message do what they would do if each had come by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.entry import Version, run_of
from kvnode.core.messages import Digest, Versions
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Incarnation, Ticks, incarnation
from tests.support.replicas import WALL, Net
from tests.support.strangers import Stranger, version

INCS = [incarnation("Z", 1), incarnation("Y", 2), incarnation("W", 3)]
CLOSED = INCS[2]
FAR_AHEAD = stamp_of(WALL + 10 * 86_400_000)

_run = st.tuples(
    st.sampled_from(INCS),
    st.integers(1, 12),
    st.integers(1, 8),
    st.integers(0, 5),
    st.sampled_from([{}, {INCS[0]: 3}, {INCS[1]: 2, CLOSED: 1}]),
    st.sampled_from([stamp_of(WALL), stamp_of(WALL + 5_000), FAR_AHEAD]),
)
_messages = st.lists(st.lists(_run, min_size=1, max_size=3), min_size=1, max_size=4)


def _versions(
    runs: list[tuple[Incarnation, int, int, int, dict[Incarnation, int], int]], *, seen: set[tuple[Incarnation, int]]
) -> list[Version]:
    """The versions of a message; each dot stands for one change, whose path follows from it."""
    out = []
    for inc, first, count, place, vector, stamp in runs:
        for tick in range(first, first + count):
            over = {} if (inc, tick) in seen else {i: t for i, t in vector.items() if i != inc}
            seen.add((inc, tick))
            path = "@.policy.p" if place == 5 and tick % 4 == 0 else f"p.k{tick % 5}"
            out.append(version(path, tick, f"{inc} {tick}", inc, vector=over, stamp=stamp))
    return out


def _peers(net: Net) -> tuple[Stranger, Stranger]:
    """One who speaks, and one who listens."""
    speaker, listener = Stranger(net, "A"), Stranger(net, "A", "L", session=78)
    for stranger in (speaker, listener):
        stranger.send(Digest({}, 0))
    net.run(10)
    return speaker, listener


def _outcome(net: Net) -> object:
    replica = net["A"]
    links = [
        (link.name, link.est.map if link.est else None, link.taint, link.refused, set(link.awaited), set(link.dirty))
        for link in replica.links.values()
    ]
    tree = [(key, [(v.dot, v.body, dict(v.vector)) for v in siblings]) for key, siblings in replica.tree.scan()]
    return tree, replica.known.map, links, replica.state.clock.last


@given(_messages)
@settings(max_examples=60)
def test_one_message_or_many(
    messages: list[list[tuple[Incarnation, int, int, int, dict[Incarnation, int], int]]],
) -> None:
    outcomes, told = [], []
    for together in (True, False):
        net, seen = Net("A"), set[tuple[Incarnation, int]]()
        speaker, listener = _peers(net)
        net["A"].state.mark((CLOSED,))
        for runs in messages:
            versions = _versions(runs, seen=seen)
            for part in [tuple(versions)] if together else [(v,) for v in versions]:
                speaker.send(Versions(part))
        assert not speaker.is_cut
        outcomes.append(_outcome(net))
        told.append([(v.dot, v.body) for m in listener.got if isinstance(m, Versions) for v in m.versions])
    assert outcomes[0] == outcomes[1]
    assert told[0] == told[1]


@given(st.lists(st.tuples(st.sampled_from(INCS), st.integers(1, 9)), min_size=1, max_size=8), st.booleans())
def test_a_run_is_one_incarnation_without_a_gap(dots: list[tuple[Incarnation, int]], over: bool) -> None:
    versions = [version("x", tick, inc=inc, vector={"V~0000000000000009": 1} if over else {}) for inc, tick in dots]
    incs, ticks = [inc for inc, _ in dots], [tick for _, tick in dots]
    is_one = (
        len(dots) >= 4 and not over and len(set(incs)) == 1 and ticks == list(range(ticks[0], ticks[0] + len(dots)))
    )
    assert run_of(versions) == ((incs[0], ticks[0], ticks[-1]) if is_one else None)
    consecutive = [version("x", ticks[0] + n, inc=incs[0]) for n in range(len(dots))]
    run = run_of(consecutive)
    assert (run is not None) == (len(dots) >= 4)
    if run is not None:
        assert Ticks((run[1], run[2] + 1)) == Ticks.of(*(v.tick for v in consecutive))
