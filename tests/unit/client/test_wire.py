"""The bytes of the client protocol: pinned, so that a change is one that somebody meant."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.client import inspect_protocol as ip
from kvnode.client import protocol as p
from kvnode.client import wire
from kvnode.codec import peer
from kvnode.codec.framing import FrameError
from kvnode.core import messages
from kvnode.core.entry import Body
from kvnode.core.ticks import Dot, Known, Ticks

INC = "n~0123456789abcdef"
DOT = Dot(INC, 3)

PINNED: list[tuple[p.Message, list[Any]]] = [
    (p.ClientHello(1, 2, "c", "a", p.Auth("m", b"d"), ("x",), ("f",)), [64, 1, 2, "c", "a", ["m", b"d"], ["x"], ["f"]]),
    (p.ServerHello(1, "n", 5), [65, 1, "n", 5, "", None, None, [], 8388608, 80]),
    (p.Get(7, b"k"), [66, 7, b"k"]),
    (
        p.Batch(7, (p.Op(("a", 1), b"\x01", (DOT,), 9),), "disk", 5000, "me"),
        [67, 7, [[["a", 1], b"\x01", [[INC, 3]], 9, None, False]], "disk", 5000, "me"],
    ),
    (p.Tree(7, ("a",), "a.+", 2, 10, b"k", True), [68, 7, ["a"], "a.+", 2, 10, b"k", True, False]),
    (
        p.Watch(7, (), None, None, True, 10, {INC: (1, 3)}, True, 50),
        [69, 7, [], None, None, True, 10, {INC: [1, 3]}, True, 50, False],
    ),
    (p.SendEvent(7, ("a",), b"\x01", None), [70, 7, ["a"], b"\x01", None]),
    (p.Events(7, ("a",), None, None, 10), [71, 7, ["a"], None, None, 10]),
    (p.Status(7), [72, 7]),
    (p.GcExplain(7, ("a",)), [73, 7, ["a"]]),
    (p.Retire(7, "n"), [74, 7, "n"]),
    (p.Dump(7, (), 10, None), [75, 7, [], 10, None]),
    (p.Load(7, (b"r",)), [76, 7, [b"r"]]),
    (p.Grant(7, 10), [77, 7, 10]),
    (p.Cancel(7), [78, 7]),
    (p.Resync(7), [79, 7]),
    (p.Ping(7), [80, 7]),
    (p.Backup(7, 10), [81, 7, 10]),
    (p.Compact(7), [82, 7]),
    (ip.History(7, ("a",), 10, 50, b"p"), [87, 7, ["a"], 10, 50, b"p"]),
    (ip.Prints(7, ("a",), ((b"k", b"l"),), (), True), [88, 7, ["a"], [[b"k", b"l"]], [], True]),
    (ip.Held(7, ("a",), (b"k",)), [89, 7, ["a"], [b"k"]]),
    (ip.Lacks(7, {INC: (1, 3)}, 50), [90, 7, {INC: [1, 3]}, 50]),
    (ip.Verify(7, ("a",), "n", 50), [91, 7, ["a"], "n", 50]),
    (ip.Aside(7, 3, None), [92, 7, 3, None]),
    (ip.Restore(7, 3, True, "disk", 50), [93, 7, 3, True, "disk", 50, None]),
    (ip.Discard(7, (3,)), [94, 7, [3]]),
    (ip.Diagnose(7, True), [95, 7, True]),
    (p.Wrote(7, ((INC, 3, 65536),)), [97, 7, [[INC, 3, 65536]], []]),
    (p.Done(7, {"a": 1}), [98, 7, {"a": 1}]),
    (p.Fail(7, "code", "text", {"a": 1}), [99, 7, "code", "text", {"a": 1}]),
    (
        p.EventRows(7, (p.EventRow(("a",), b"\x01", "me", "n", 5, 6, None),), 2),
        [101, 7, [[["a"], b"\x01", "me", "n", 5, 6, None]], 2],
    ),
    (p.Begin(7, p.GAP, "slow"), [102, 7, 2, "slow"]),
    (p.Marker(7, {INC: (1, 3)}, True, 99), [103, 7, {INC: [1, 3]}, True, 99]),
    (p.DumpRows(7, ((b"k", b"r"),)), [104, 7, [[b"k", b"r"]]]),
    (p.Pong(7), [105, 7]),
    (p.Chunk(7, b"d"), [106, 7, b"d"]),
]


def _payload(message: p.Message) -> bytes:
    return wire.framed(message)[4:]


@pytest.mark.parametrize(("message", "fields"), PINNED, ids=lambda v: type(v).__name__)
def test_every_message_has_its_bytes_and_reads_back(message: p.Message, fields: list[Any]) -> None:
    payload = _payload(message)
    assert msgpack.unpackb(payload, strict_map_key=False) == fields
    tag = fields[0]
    decode: Any = wire.decode_request if 66 <= tag < 96 else wire.decode_answer if tag != 64 else wire.first_frame
    assert decode(payload) == message


def test_no_message_was_forgotten() -> None:
    tags = {kind.__struct_config__.tag for kind in p.Message.__subclasses__()}
    assert tags == {fields[0] for _, fields in PINNED} | {96, 100}


def test_rows_carry_bodies_as_they_were_written() -> None:
    body = Body(("a", 1), 65536, 0, msgspec.Raw(b"\x01"), "me")
    row = p.Row((p.Sib(INC, 3, body),), 1, p.CONFLICT, b"\x02", None)
    plain = [[[INC, 3, [["a", 1], 65536, 0, 1, "me", None, None, None]]], 1, 1, b"\x02", None]
    for message, fields in ((p.Rows(7, (row,)), [100, 7, [plain]]), (p.Got(7, row), [96, 7, plain])):
        payload = _payload(message)
        assert msgpack.unpackb(payload) == fields
        read: Any = wire.decode_answer(payload)
        shown = read.rows[0] if isinstance(read, p.Rows) else read.row
        assert bytes(shown.siblings[0].body.value) == b"\x01"
        assert (shown.live, shown.flags, shown.value) == (1, p.CONFLICT, b"\x02")


def test_fields_that_are_added_later_are_skipped_and_missing_ones_default() -> None:
    assert wire.decode_request(msgspec.msgpack.encode([66, 7, b"k", "new"])) == p.Get(7, b"k")
    assert wire.decode_request(msgspec.msgpack.encode([69, 7, [], None, None, False, 9])).id == 7
    assert wire.decode_answer(msgspec.msgpack.encode([98, 7])) == p.Done(7)


def test_a_kind_of_answer_that_is_not_known_is_none() -> None:
    assert wire.decode_answer(msgspec.msgpack.encode([127, 7, "x"])) is None
    for bad in (b"", b"\xc1", b"\x90", msgspec.msgpack.encode([98]), msgspec.msgpack.encode([100, 7, [[[], "x"]]])):
        with pytest.raises(wire.WireError):
            wire.decode_answer(bad)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_answer, wire.first_frame):
        try:
            decode(data)
        except wire.WireError as err:
            assert "\n" not in str(err)
    assert isinstance(wire.id_of(data), int)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    deep = b"\x91" * 300_000
    for decode, start in (
        (wire.decode_request, b"\x93\x42\x07"),
        (wire.decode_answer, b"\x93\x62\x07"),
        (wire.first_frame, b"\x96\x40\x01\x01\xa0\xa0"),
    ):
        with pytest.raises(wire.WireError):
            decode(start + deep)


def test_the_first_frame_tells_clients_from_peers() -> None:
    hello = messages.Hello(1, 1, "c", "n", 5, None, (), (), None, 0, ())
    of_peer = peer.encode(0, hello)
    assert wire.first_frame(of_peer) is of_peer
    assert wire.first_frame(_payload(p.ClientHello(1, 1))) == p.ClientHello(1, 1)
    for bad in (b"", b"\x90", b"\x91\xa1x", b"\x92\xcd\x01\x00\x90", _payload(p.Get(1, b"k")), b"\x91\x40"):
        with pytest.raises(wire.WireError):
            wire.first_frame(bad)


def test_the_id_of_what_cannot_be_read() -> None:
    assert wire.id_of(msgspec.msgpack.encode([66, 7, "no key"])) == 7
    assert wire.id_of(msgspec.msgpack.encode([66, "seven"])) == 0
    assert wire.id_of(b"\x91\x42") == 0


@pytest.mark.parametrize(
    ("low", "high", "chosen"), [(1, 1, 1), (0, 1, 1), (1, 9, 1), (2, 9, None), (0, 0, None), (3, 1, None)]
)
def test_versions_are_negotiated(low: int, high: int, chosen: int | None) -> None:
    assert wire.choose_protocol(low, high) == chosen


def test_too_large_a_message_is_refused() -> None:
    with pytest.raises(FrameError, match="too large"):
        wire.framed(p.SendEvent(1, ("a",), bytes(9 << 20)))


def test_known_ranges_there_and_back() -> None:
    known = Known({INC: Ticks((1, 5, 7, 9))})
    assert wire.ranges_of(known) == {INC: (1, 5, 7, 9)}
    assert wire.known_of(wire.ranges_of(known)) == known
    for bad in ({"x": (1, 2)}, {INC: (1,)}, {INC: (0, 2)}, {INC: (3, 2)}):
        with pytest.raises(wire.WireError):
            wire.known_of(bad)


def test_costs() -> None:
    assert wire.cost_of(3, 100) == 3
    assert wire.cost_of(1, 1024) == 2
    assert wire.cost_of(1, 1 << 20) == 1025


def test_prints_differ_by_key_and_dots_and_not_by_order() -> None:
    other = Dot("m~0123456789abcdef", 3)
    prints = {
        wire.reading_print(b"k", [DOT]),
        wire.reading_print(b"j", [DOT]),
        wire.reading_print(b"k", [other]),
        wire.reading_print(b"k", [DOT, other]),
        wire.reading_print(b"k", [Dot(INC, 4)]),
    }
    assert len(prints) == 5
    assert wire.reading_print(b"k", [DOT, other]) == wire.reading_print(b"k", [other, DOT])
    assert wire.reading_print(b"k", []) == 0
    assert all(0 < one < 1 << 64 for one in prints)


@pytest.mark.parametrize(("message", "fields"), PINNED, ids=lambda v: type(v).__name__)
def test_fields_that_a_later_version_appends_are_ignored(message: p.Message, fields: list[Any]) -> None:
    payload = msgpack.packb([*fields, "of", {"a": "later version"}])
    tag = fields[0]
    decode: Any = wire.first_frame if tag == 64 else wire.decode_answer if tag in ANSWERS else wire.decode_request
    assert decode(payload) == message


ANSWERS = {65, *range(96, 107)}


def test_a_request_of_a_later_version_is_told_from_nonsense() -> None:
    with pytest.raises(wire.TooOld, match=f"this node is too old for the request {wire.LAST_REQUEST + 1}; upgrade it"):
        wire.decode_request(msgpack.packb([wire.LAST_REQUEST + 1, 7, "of", {"a": "newer version"}]))
    with pytest.raises(wire.WireError, match="not a request") as caught:
        wire.decode_request(msgpack.packb([66, 7]))
    assert not isinstance(caught.value, wire.TooOld)


def test_a_hello_says_what_is_served() -> None:
    old = wire.decode_answer(msgpack.packb([65, 1, "n", 5]))
    assert isinstance(old, p.ServerHello)
    new = p.ServerHello(1, "n", 5, features=wire.FEATURES, requests=wire.LAST_REQUEST)
    write = p.Op(("a",), b"\x01")
    lease = msgspec.structs.replace(write, ttl_ms=30_000)
    requests = (p.Ping(1), p.Batch(1, (write,), "disk", 5000), p.Batch(1, (write, lease), "disk", 5000), p.Backup(1, 9))
    assert [wire.is_served(wire.needs_of(request), old) for request in requests] == [True, True, False, False]
    assert all(wire.is_served(wire.needs_of(request), new) for request in requests)


def test_every_request_that_came_later_has_words_for_people() -> None:
    later = {kind for kind in get_args(wire.AnyRequest) if kind.__struct_config__.tag > p.REQUESTS_OF_0_1}
    assert wire.NEWER.keys() == later
    assert all(wire.NEWER.values())


def test_tags_of_requests_only_go_up() -> None:
    """The highest tag tells a client all that a node takes."""
    tags = [kind.__struct_config__.tag for kind in get_args(wire.AnyRequest)]
    assert tags == sorted(tags)
    assert tags[-1] == wire.LAST_REQUEST
