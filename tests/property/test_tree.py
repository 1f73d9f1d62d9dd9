"""The tree against a plain dict: content, order, ranges, fingerprints; chunks are small, so they split and vanish."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core import tree as tree_module
from kvnode.core.entry import Siblings, Version, body_of, fingerprint
from kvnode.core.path import Path, key_range_end
from kvnode.core.ticks import Dot, incarnation
from kvnode.core.tree import KEY_END, Tree

INC = incarnation("A", 1)
PATHS = [Path((a, b)) if b else Path((a,)) for a in ("a", "b", 3, "cc") for b in (0, 1, "x", "y")]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "_CHUNK", 2)
    monkeypatch.setattr(tree_module, "_WAITING", 3)
    monkeypatch.setattr(tree_module, "_AT_ONCE", 2)


def _siblings(path: Path, spec: list[tuple[int, bool]]) -> Siblings:
    return tuple(
        Version.make(Dot(INC, tick), {}, body_of(path, tick, None if gone else b"\x01"))
        for tick, gone in sorted(dict(spec).items())
    )


_spec = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=2)
_steps = st.lists(st.tuples(st.sampled_from(PATHS), _spec), max_size=40)


def _print_of(model: dict[bytes, Siblings]) -> int:
    prints = (fingerprint(v) for s in model.values() for v in s if not v.is_tombstone)
    return reduce(lambda a, b: a ^ b, prints, 0)


def _inside(model: dict[bytes, Siblings], low: bytes, high: bytes) -> dict[bytes, Siblings]:
    return {k: model[k] for k in sorted(model) if low <= k < high}


def _check(tree: Tree, model: dict[bytes, Siblings], low: bytes, high: bytes) -> None:
    part = _inside(model, low, high)
    assert list(tree.keys(low, high)) == list(part)
    assert dict(tree.scan_range(low, high)) == part
    assert tree.print_of(low, high) == _print_of(part)
    prints = [(key, _print_of({key: siblings})) for key, siblings in part.items()]
    assert tree.prints(low, high) == [(key, print_) for key, print_ in prints if print_]
    cuts = tree.split(low, high, 3, 2)
    assert (cuts is None) == (len(part) <= 2)
    if cuts:
        assert len(cuts) <= 3
        assert [cuts[0][0], cuts[-1][1]] == [low, high]
        assert all(a[1] == b[0] for a, b in zip(cuts, cuts[1:], strict=False))
        assert all(_inside(model, *cut) for cut in cuts)


def _check_filled(model: dict[bytes, Siblings], a: bytes, b: bytes) -> None:
    """A tree that was filled at once is as one that grew, and goes on as one."""
    tree = Tree()
    tree.fill(model.items())
    _check(tree, model, *sorted((a, b)))
    assert tree.print_of_all == _print_of(model)
    for key, siblings in ((a, ()), (b, _siblings(PATHS[0], [(1, False)]))):
        assert tree.put(key, siblings) == model.get(key, ())
        _check(tree, {k: s for k, s in {**model, key: siblings}.items() if s}, b"", KEY_END)
        tree.put(key, model.get(key, ()))
    low: bytes | None = b""
    while low is not None:
        sound, low = tree.check(low)
        assert sound


@given(_steps, st.sampled_from(PATHS), st.sampled_from(PATHS))
@settings(max_examples=100)
def test_the_tree_is_an_ordered_map(steps: list[tuple[Path, list[tuple[int, bool]]]], a: Path, b: Path) -> None:
    tree, model = Tree(), dict[bytes, Siblings]()
    for path, spec in steps:
        siblings = _siblings(path, spec)
        tree.put(path.key, siblings)
        model.pop(path.key, None)
        if siblings:
            model[path.key] = siblings
        assert len(tree) == len(model)
        assert tree.get(path.key) == tree.at(path) == siblings
        assert (path.key in tree) == bool(siblings)
        assert tree.print_of_all == tree.print_of(b"", KEY_END) == _print_of(model)
        _check(tree, model, *sorted((a.key, b.key)))
    _check(tree, model, b"", KEY_END)
    _check_filled(model, a.key, b.key)
    assert dict(tree.scan(a)) == _inside(model, a.key, key_range_end(a.key))
    assert {(k, v.dot) for k, v in tree.versions()} == {(k, v.dot) for k, s in model.items() for v in s}


@given(_steps, st.sampled_from(PATHS), st.sampled_from(PATHS))
def test_changes_that_wait_for_their_chunks_are_seen_by_all_that_look(
    steps: list[tuple[Path, list[tuple[int, bool]]]], a: Path, b: Path
) -> None:
    model = dict[bytes, Siblings]()
    trees = [Tree() for _ in range(6)]
    for path, spec in steps:
        siblings = _siblings(path, spec)
        for tree in trees:
            tree.put(path.key, siblings)
        model.pop(path.key, None)
        if siblings:
            model[path.key] = siblings
    low, high = sorted((a.key, b.key))
    part = _inside(model, low, high)
    by_keys, by_print, by_prints, by_all, by_split, by_check = trees
    assert list(by_keys.keys(low, high)) == list(part)
    assert by_print.print_of(low, high) == _print_of(part)
    assert dict(by_prints.prints(low, high)) == {k: p for k, s in part.items() if (p := _print_of({k: s}))}
    assert by_all.print_of_all == _print_of(model)
    assert (by_split.split(low, high, 3, 2) is None) == (len(part) <= 2)
    at: bytes | None = b""
    while at is not None:
        sound, at = by_check.check(at)
        assert sound
    for tree in trees:
        _check(tree, model, b"", KEY_END)


@given(_steps)
def test_one_version_is_put_as_many_are(steps: list[tuple[Path, list[tuple[int, bool]]]]) -> None:
    tree, other = Tree(), Tree()
    for path, spec in steps:
        siblings = _siblings(path, spec)
        tree.put(path.key, siblings)
        if len(siblings) == 1:
            other.put_one(path.key, siblings[0])
        else:
            other.put(path.key, siblings)
        assert tree.held(path.key) == other.held(path.key) == (siblings[0] if len(siblings) == 1 else siblings or None)
    assert list(tree.scan()) == list(other.scan())
    assert tree.print_of_all == other.print_of_all


def _rest(keys: Iterator[bytes], count: int) -> list[bytes]:
    return list(islice(keys, count))


@given(_steps, _steps, st.integers(0, 10))
def test_a_scan_survives_changes(
    before: list[tuple[Path, list[tuple[int, bool]]]], meanwhile: list[tuple[Path, list[tuple[int, bool]]]], upto: int
) -> None:
    tree = Tree()
    for path, spec in before:
        tree.put(path.key, _siblings(path, spec))
    stayed = set(tree.keys()) - {path.key for path, _ in meanwhile}
    scan = tree.keys()
    seen = _rest(scan, upto)
    for path, spec in meanwhile:
        tree.put(path.key, _siblings(path, spec))
    seen += _rest(scan, 1000)
    assert seen == sorted(set(seen))
    assert stayed <= set(seen)
