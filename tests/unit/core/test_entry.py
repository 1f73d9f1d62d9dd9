"""Versions, bodies and stored records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kvnode.core.entry import (
    MAX_DEPTH,
    NO_VECTOR,
    TOMBSTONE,
    VALUE,
    Body,
    Version,
    body_of,
    decode_record,
    encode_record,
    fingerprint,
    merge,
    plain,
    vector_over,
)
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation

A, B, C = (incarnation(name, 1) for name in "ABC")
PATH = Path.parse("home.temp")


def version(
    inc: str, tick: int, over: tuple[Version, ...] = (), value: bytes | None = b"\x01", stamp: int = 5
) -> Version:
    return Version.make(Dot(inc, tick), vector_over(over, inc), body_of(PATH, stamp, value, "me", None, None))


def test_a_version_says_what_was_written() -> None:
    body = body_of(PATH, 77, msgspec.msgpack.encode([1, "x"]), "agent", "user", 1234)
    got = Version.make(Dot(A, 3), NO_VECTOR, body)
    assert got.dot == (A, 3)
    assert got.key == PATH.key
    assert (got.stamp, got.kind, got.expiry) == (77, VALUE, 1234)
    details = got.details
    assert (details.path, details.author, details.principal) == (tuple(PATH), "agent", "user")
    assert msgspec.msgpack.decode(details.value) == [1, "x"]
    assert "val home.temp" in repr(got)
    assert got.order == (77, A, 3)


def test_deletes_and_expiry() -> None:
    gone = version(A, 1, value=None)
    assert gone.is_tombstone
    assert gone.kind == TOMBSTONE
    assert gone.is_gone(0)
    assert "del home.temp" in repr(gone)
    expiring = Version.make(Dot(A, 1), NO_VECTOR, body_of(PATH, 1, b"\x01", expiry=100))
    assert not expiring.is_tombstone
    assert not expiring.is_gone(99)
    assert expiring.is_gone(100)


def test_fields_that_a_later_release_added_are_kept() -> None:
    raw = msgspec.msgpack.encode([list(PATH), 5, 0, "value", "me", None, None, None, "field of the future"])
    got = Version.received(A, 1, {}, raw, b"")
    assert got.details.author == "me"
    (back,) = decode_record(encode_record((got,)))
    assert back.body == raw


@pytest.mark.parametrize("deep", [1, 64, 65, 200])
def test_a_value_is_no_deeper_than_everybody_can_read_it(deep: int) -> None:
    value: Any = 1
    for _ in range(deep):
        value = [value]
    for rest in ([value, "me"], [value], [1, "me", None, None, None, value], [value, "me", None, None, None, "future"]):
        body = msgspec.msgpack.encode([list(PATH), 5, 0, *rest])
        if deep > MAX_DEPTH:
            with pytest.raises(ValueError, match="nested deeper"):
                Version.received(A, 1, {}, body, b"")
        else:
            Version.received(A, 1, {}, body, b"")


def test_fields_that_a_writer_left_out_have_defaults() -> None:
    got = Version.received(A, 1, {}, msgspec.msgpack.encode([list(PATH), 5, 1, None]), b"")
    assert got.details == Body(tuple(PATH), 5, 1, msgspec.Raw(b"\xc0"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode("text"),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([["a", 1.5], 5, 0, 1]),
        msgspec.msgpack.encode([["a\0"], 5, 0, 1]),
        msgspec.msgpack.encode([["a"] * 65, 5, 0, 1]),
        msgspec.msgpack.encode([["a"], "stamp", 0, 1]),
        msgspec.msgpack.encode([["a"], 5, 0, 1]) + b"\x00",
    ],
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of msgspec's errors, all of them are this
        Version.received(A, 1, {}, body, b"")


@pytest.mark.parametrize("record", [b"", b"\x90\x90", msgspec.msgpack.encode([["A", 1, {}, b""]]), b"\xc0"])
def test_malformed_records_are_refused(record: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode_record(record)


def test_vectors() -> None:
    first, second = version(A, 2), version(B, 7)
    third = version(C, 1, (first, second))
    assert third.vector == {A: 2, B: 7}
    fourth = version(A, 3, (third,))
    assert fourth.vector == {B: 7, C: 1}
    assert fourth.covers(first)
    assert fourth.covers(second)
    assert fourth.covers(third)
    assert not second.covers(fourth)
    assert fourth.stripped().vector == {}
    assert fourth.stripped() == fourth
    assert fourth.stripped().covers(first)


def test_merge_examples() -> None:
    first, beside = version(A, 1), version(B, 1)
    siblings = merge(merge((), first).siblings, beside).siblings
    assert [v.dot for v in siblings] == [(A, 1), (B, 1)]
    over = version(C, 1, siblings)
    merged = merge(siblings, over)
    assert merged.siblings == (over,)
    assert merged.removed == siblings
    assert merged.added
    late = merge(merged.siblings, first)
    assert late.siblings == (over,)
    assert not late.added


def test_fingerprints_ignore_vectors() -> None:
    over = version(A, 2, (version(B, 1),))
    assert fingerprint(over) == fingerprint(over.stripped())
    assert fingerprint(over) != fingerprint(version(A, 2, stamp=6))
    assert fingerprint(version(A, 1)) != fingerprint(version(B, 1))


def test_plain_values() -> None:
    assert plain(msgspec.msgpack.encode({"a": 1})) == {"a": 1}
    assert plain(b"\xc1") is None
    assert plain(b"") is None
