"""The tree as a state machine over thousands of keys, so that chunks of the real size split and vanish."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvnode.core.entry import Siblings, Version, body_of
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation
from kvnode.core.tree import KEY_END, Tree, entry_print

INC = incarnation("A", 1)
COUNT = 4_000

KEYS = [Path(("n", n)).key for n in range(COUNT)]


def _variants(n: int) -> list[tuple[Siblings, int]]:
    """A value, another, both beside each other, a tombstone; with the fingerprint of each."""
    path = Path(("n", n))
    one, two, gone = (
        Version.make(Dot(INC, 3 * n + k), {}, body_of(path, 7, value))
        for k, value in enumerate((b"\x01", b"\x02", None))
    )
    return [(s, entry_print(s)) for s in ((one,), (two,), (one, two), (gone,))]


VARIANTS = [_variants(n) for n in range(COUNT)]

_place = st.integers(0, COUNT - 1)


class TreeMachine(RuleBasedStateMachine):
    """Blocks of keys are put and removed; the model is a dict from number to fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.model: dict[int, int] = {}

    @rule(start=_place, count=st.integers(1, 1_500), step=st.integers(1, 5), variant=st.integers(0, 3))
    def put_block(self, start: int, count: int, step: int, variant: int) -> None:
        for n in range(start, min(start + count * step, COUNT), step):
            siblings, print_ = VARIANTS[n][variant]
            self.tree.put(KEYS[n], siblings)
            self.model[n] = print_

    @rule(start=_place, count=st.integers(1, 3_000))
    def remove_block(self, start: int, count: int) -> None:
        for n in range(start, min(start + count, COUNT)):
            self.tree.put(KEYS[n], ())
            self.model.pop(n, None)

    @rule(start=_place)
    def remove_all_but_one(self, start: int) -> None:
        for n in list(self.model):
            if n != start:
                self.tree.put(KEYS[n], ())
                del self.model[n]

    @rule(a=_place, b=_place)
    def compare_a_range(self, a: int, b: int) -> None:
        low, high = sorted((a, b))
        inside = {n: p for n, p in self.model.items() if low <= n < high}
        assert self.tree.print_of(KEYS[low], KEYS[high]) == _xor(inside.values())
        assert list(self.tree.keys(KEYS[low], KEYS[high])) == [KEYS[n] for n in sorted(inside)]

    @rule(parts=st.integers(2, 9), leaf=st.integers(0, 40))
    def split_everything(self, parts: int, leaf: int) -> None:
        cuts = self.tree.split(b"", KEY_END, parts, leaf)
        assert (cuts is None) == (len(self.model) <= leaf)
        if cuts:
            assert len(cuts) <= parts
            assert _xor(self.tree.print_of(*cut) for cut in cuts) == self.tree.print_of_all

    @invariant()
    def the_table_agrees(self) -> None:
        assert len(self.tree) == len(self.model)

    @rule()
    def everything_agrees(self) -> None:
        assert self.tree.print_of_all == self.tree.print_of(b"", KEY_END) == _xor(self.model.values())
        assert list(self.tree.keys()) == [KEYS[n] for n in sorted(self.model)]

    def teardown(self) -> None:
        self.everything_agrees()


def _xor(prints: Iterable[int]) -> int:
    return reduce(lambda a, b: a ^ b, prints, 0)


TreeMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestTree = TreeMachine.TestCase
