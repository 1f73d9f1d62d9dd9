"""Law 1: merging is commutative, associative and idempotent; order and duplication do not matter.

Versions come from a small causal model: nodes that write over what they hold, and pass versions on late, in any
order, or never. The model keeps real causality as sets of dots; nothing here trusts `covers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.entry import Siblings, Version, body_of, decode_record, encode_record, merge, ordered, vector_over
from kvnode.core.stamp import stamp_of
from kvnode.core.ticks import Dot, incarnation

PATH = ("x",)


@dataclass
class _Node:
    """A writer of one path: what it holds now, and every dot whose effect it has."""

    inc: str
    tick: int = 0
    held: set[Dot] = field(default_factory=set)
    seen: set[Dot] = field(default_factory=set)


@dataclass
class _Model:
    """Real causality: for each dot the dots in its past."""

    nodes: list[_Node]
    versions: dict[Dot, Version] = field(default_factory=dict)
    past: dict[Dot, frozenset[Dot]] = field(default_factory=dict)

    def write(self, node: _Node, delete: bool, skip: int) -> None:
        node.tick += 1 + skip
        dot = Dot(node.inc, node.tick)
        over = [self.versions[d] for d in sorted(node.held)]
        body = body_of(PATH, stamp_of(len(self.versions)), None if delete else b"\x01")
        self.versions[dot] = Version.make(dot, vector_over(over, node.inc), body)
        self.past[dot] = frozenset(node.held).union(*(self.past[d] for d in node.held))
        node.held = {dot}
        node.seen |= {dot} | self.past[dot]

    def deliver(self, dot: Dot, node: _Node) -> None:
        if dot not in node.seen:
            node.held = {d for d in node.held if d not in self.past[dot]} | {dot}
        node.seen |= {dot} | self.past[dot]

    def latest(self, dots: set[Dot]) -> set[Dot]:
        """Of `dots` those that no other one has in its past."""
        return {d for d in dots if not any(d in self.past[e] for e in dots)}


_steps = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 2), st.integers(0, 30)),
    min_size=1,
    max_size=14,
)


@st.composite
def histories(draw: st.DrawFn) -> _Model:
    """A model after some writes and deliveries."""
    model = _Model([_Node(incarnation(f"N{i}", i)) for i in range(4)])
    for who, is_write, flag, skip, which in draw(_steps):
        node = model.nodes[who]
        if is_write or not model.versions:
            model.write(node, flag, skip)
        else:
            dots = sorted(model.versions)
            model.deliver(dots[which % len(dots)], node)
    return model


def _fold(versions: list[Version], start: Siblings = ()) -> Siblings:
    for version in versions:
        start = merge(start, version).siblings
    return start


def _dots(siblings: Siblings) -> set[Dot]:
    return {v.dot for v in siblings}


@given(histories())
def test_covers_is_causality(model: _Model) -> None:
    for a, x in model.versions.items():
        for b, y in model.versions.items():
            assert x.covers(y) == (a == b or b in model.past[a])


@given(histories(), st.data())
def test_any_order_with_duplicates_gives_the_same_siblings(model: _Model, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(sorted(model.versions)), min_size=1, max_size=12))
    versions = [model.versions[d] for d in some]
    shuffled = data.draw(st.permutations(versions))
    expected = model.latest(set(some))
    assert _dots(_fold(versions)) == expected
    assert _fold(shuffled) == _fold(versions)
    assert _fold(versions + shuffled) == _fold(versions)


@given(histories(), st.data())
def test_merging_sets_is_associative_and_commutative(model: _Model, data: st.DataObject) -> None:
    dots = st.lists(st.sampled_from(sorted(model.versions)), max_size=5)
    a, b, c = ([model.versions[d] for d in data.draw(dots)] for _ in range(3))
    left = _fold(list(_fold(c, _fold(b, _fold(a)))))
    right = _fold(list(_fold(c, _fold(b))), _fold(a))
    assert left == right
    assert _fold(b, _fold(a)) == _fold(a, _fold(b))
    assert _fold(a, _fold(a)) == _fold(a)


@given(histories(), st.data())
def test_what_merge_says_is_what_it_did(model: _Model, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(sorted(model.versions)), min_size=1, max_size=8))
    *before, last = [model.versions[d] for d in some]
    siblings = _fold(before)
    merged = merge(siblings, last)
    assert merged.added == (merged.siblings != siblings)
    assert _dots(merged.removed) == _dots(siblings) - _dots(merged.siblings)
    assert merged.siblings == ordered(merged.siblings)
    assert merged.added or not merged.removed


@given(histories())
@settings(max_examples=60)
def test_nodes_that_heard_all_agree(model: _Model) -> None:
    for node in model.nodes:
        for dot in sorted(model.versions):
            model.deliver(dot, node)
    everything = _fold(list(model.versions.values()))
    assert all(node.held == _dots(everything) for node in model.nodes)
    assert _dots(everything) == model.latest(set(model.versions))


@given(histories(), st.data())
def test_a_new_write_supersedes_exactly_what_was_held(model: _Model, data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(model.nodes))
    before = frozenset(node.held)
    model.write(node, False, 0)
    (new,) = node.held
    vector = model.versions[new].vector
    assert node.inc not in vector
    for dot in model.versions:
        named = dot.tick <= (new.tick if dot.inc == node.inc else vector.get(dot.inc, 0))
        assert named == (dot == new or dot in model.past[new])
    assert before <= model.past[new]


@given(histories())
def test_records_keep_everything(model: _Model) -> None:
    siblings = _fold(list(model.versions.values()))
    back = decode_record(encode_record(siblings))
    assert back == siblings
    assert [(v.dot, dict(v.vector), v.body, v.sig, v.stamp, v.kind, v.expiry) for v in back] == [
        (v.dot, dict(v.vector), v.body, v.sig, v.stamp, v.kind, v.expiry) for v in siblings
    ]
