"""The mirror of a watch, message by message."""

from __future__ import annotations

import msgspec
import pytest

from kvnode.client import protocol as p
from kvnode.client.items import ABSENT, Change, Gap, Uptodate
from kvnode.client.mirror import Item, Mirror
from kvnode.client.wire import WireError, reading_print
from kvnode.core.entry import Body
from kvnode.core.path import Path

A, B = "a~0123456789abcdef", "b~0123456789abcdef"


def row(
    path: str, *dots: tuple[str, int], live: int | None = None, flags: int = 0, joined: bytes | None = None
) -> p.Row:
    elements = Path.parse(path)
    sibs = tuple(p.Sib(i, t, Body(elements, t << 16, 0, msgspec.Raw(bytes([t])), "me")) for i, t in dots)
    return p.Row(sibs, len(sibs) if live is None else live, flags, joined, None if sibs else elements)


def shown(items: list[Item]) -> list[object]:
    out: list[object] = []
    for item in items:
        match item:
            case Change():
                out.append((str(item.path), item.value))
            case Gap():
                out.append(item.reason)
            case Uptodate():
                out.append("uptodate")
    return out


def begun(*rows: p.Row, context: dict[str, tuple[int, ...]] | None = None) -> Mirror:
    mirror = Mirror()
    assert mirror.begin(p.Begin(1, p.FULL)) == []
    mirror.rows(rows)
    items, resync = mirror.marker(p.Marker(1, context or {A: (1, 10)}, True))
    assert shown(items) == ["uptodate"]
    assert not resync
    return mirror


def test_a_new_watch_asks_for_everything() -> None:
    assert Mirror().request() == (None, False)


def test_before_the_first_marker_only_the_dots_that_came_are_asked_for() -> None:
    mirror = Mirror()
    mirror.begin(p.Begin(1, p.FULL))
    mirror.rows([row("x", (A, 3))])
    assert mirror.request() == ({A: (3, 4)}, False)


def test_the_context_is_the_markers_and_what_came_since() -> None:
    mirror = begun(row("x", (A, 3)))
    assert mirror.request() == ({A: (1, 10)}, True)
    assert shown(mirror.rows([row("x", (A, 12)), row("y", (B, 5))])) == [("x", 12), ("y", 5)]
    assert mirror.request() == ({A: (1, 10, 12, 13), B: (5, 6)}, True)
    assert mirror.marker(p.Marker(1, {A: (1, 13), B: (1, 6)}, False)) == ([], False)
    assert mirror.request() == ({A: (1, 13), B: (1, 6)}, True)


def test_tombstones_count_in_the_context() -> None:
    mirror = begun(row("x", (A, 3)))
    assert shown(mirror.rows([row("x", (A, 11), live=0)])) == [("x", ABSENT)]
    assert mirror.request() == ({A: (1, 10, 11, 12)}, True)
    assert len(mirror) == 0


def test_nothing_comes_twice() -> None:
    mirror = begun(row("x", (A, 3)))
    assert mirror.rows([row("x", (A, 3)), row("y", live=0), row("z", (A, 4), live=0)]) == []
    assert shown(mirror.rows([row("x", (A, 3), flags=p.CONFLICT)])) == [("x", 3)]
    assert mirror.rows([row("x", (A, 3), flags=p.CONFLICT | p.STALE)]) == []
    assert shown(mirror.rows([row("x", (A, 3))])) == [("x", 3)]
    assert shown(mirror.rows([row("x", (A, 3), (B, 1), (B, 2))])) == [("x", 3)]
    assert mirror.rows([row("x", (A, 3), (B, 2), (B, 1))]) == []
    assert shown(mirror.rows([row("x", (B, 1), (A, 3), (B, 2))])) == [("x", 1)]
    assert shown(mirror.rows([row("x", (B, 1), (A, 3), (B, 2), joined=b"\x09")])) == [("x", 9)]
    assert mirror.rows([row("x", (B, 1), (A, 3), (B, 2), joined=b"\x09")]) == []


def test_a_full_pass_tells_what_is_gone_in_path_order() -> None:
    mirror = begun(row("b", (A, 1)), row("d", (A, 2)), row("f", (A, 3)))
    mirror.begin(p.Begin(1, p.FULL))
    items = mirror.rows([row("a", (A, 11)), row("d", (A, 2)), row("e", (A, 12))])
    items += mirror.marker(p.Marker(1, {A: (1, 13)}, True))[0]
    assert shown(items) == [("a", 11), ("b", ABSENT), ("e", 12), ("f", ABSENT)]
    gone = items[1]
    assert isinstance(gone, Change)
    assert (gone.node, gone.tick, gone.dots) == ("", 0, frozenset())


def test_a_gap_is_told_then_the_differences_then_the_marker() -> None:
    mirror = begun(row("x", (A, 1)), row("y", (A, 2)))
    assert shown(mirror.begin(p.Begin(1, p.GAP, "slow"))) == ["slow"]
    assert mirror.request() == ({A: (1, 10)}, True), "what was passed on before the gap still counts"
    mirror.begin(p.Begin(1, p.GAP, "slow"))
    assert shown(mirror.rows([row("x", (A, 12))])) == [("x", 12)]
    assert shown(mirror.marker(p.Marker(1, {A: (1, 13)}, True))[0]) == [("y", ABSENT), "uptodate"]


def test_a_reset_forgets_the_context() -> None:
    mirror = begun(row("x", (A, 5)))
    assert shown(mirror.begin(p.Begin(1, p.RESET, "behind"))) == ["behind"]
    assert mirror.request() == (None, False)
    mirror.begin(p.Begin(1, p.RESET, "behind"))
    assert shown(mirror.rows([row("x", (A, 4))])) == [("x", 4)]
    assert mirror.request() == ({A: (4, 5)}, False)


def test_a_resume_with_the_same_fingerprint_is_silent() -> None:
    mirror = begun(row("x", (A, 5)), row("y", (A, 6)))
    mirror.request()
    assert mirror.begin(p.Begin(1, p.DELTA)) == []
    assert shown(mirror.rows([row("y", (B, 1))])) == [("y", 1)]
    right = reading_print(Path.parse("x").key, [(A, 5)]) ^ reading_print(Path.parse("y").key, [(B, 1)])
    assert mirror.fingerprint() == right
    assert mirror.marker(p.Marker(1, {A: (1, 10), B: (1, 2)}, True, right)) == ([], False)
    assert mirror.request() == ({A: (1, 10), B: (1, 2)}, True)


def test_another_fingerprint_asks_for_everything() -> None:
    mirror = begun(row("x", (A, 5)), row("y", (A, 6)))
    mirror.begin(p.Begin(1, p.DELTA))
    right = reading_print(Path.parse("y").key, [(A, 6)])
    assert mirror.marker(p.Marker(1, {A: (1, 10)}, True, right)) == ([], True)
    assert mirror.request()[1] is False, "until then it must not pass for a mirror"
    mirror.begin(p.Begin(1, p.FULL))
    assert shown(mirror.rows([row("y", (A, 6))])) == [("x", ABSENT)]
    assert mirror.marker(p.Marker(1, {A: (1, 10)}, True)) == ([], False)
    assert mirror.fingerprint() == right


def test_a_pass_that_broke_off_leaves_no_trace() -> None:
    mirror = begun(row("b", (A, 1)), row("d", (A, 2)))
    mirror.begin(p.Begin(1, p.FULL))
    mirror.rows([row("c", (A, 11))])
    assert mirror.request() == ({A: (1, 10, 11, 12)}, True)
    assert shown(mirror.rows([row("z", (A, 12))])) == [("z", 12)], "nothing more is concluded from the pass"
    assert len(mirror) == 3


def test_many_dots_are_folded_into_ranges() -> None:
    mirror = begun()
    for tick in range(10, 10_000):
        mirror.rows([row("x", (A, tick % 250 + 1)), row("y", (A, tick))] if tick < 256 else [_tick_row(tick)])
    assert len(mirror._delivered) <= 4097
    context, _ = mirror.request()
    assert context == {A: (1, 10_000)}


def _tick_row(tick: int) -> p.Row:
    return p.Row((p.Sib(A, tick, Body(("y",), tick, 0, msgspec.Raw(b"\x01"))),), 1)


def test_a_malformed_context_is_an_error() -> None:
    with pytest.raises(WireError):
        Mirror().marker(p.Marker(1, {"no incarnation": (1, 2)}, True))
