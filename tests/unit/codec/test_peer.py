"""Peer messages as bytes: what the wire carries, checked with an independent decoder, and what is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from kvnode.codec import peer
from kvnode.codec.framing import MAX_PAYLOAD_BYTES
from kvnode.codec.peer import PeerCodecError, decode, encode
from kvnode.core import messages as m
from kvnode.core.entry import NO_VECTOR, Version, body_of
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation, volatile_twin

A, B, C = incarnation("A", 1), incarnation("B", 2), incarnation("C", 3)
PATH = Path(("home", 3))


def version(
    inc: str = A, tick: int = 1, vector: dict[str, int] | None = None, sig: bytes = b"", **more: Any
) -> Version:
    return Version.make(Dot(inc, tick), vector or {}, body_of(PATH, 99, b"\x2a", "me", "anna", **more), sig)


KEY = PATH.key
ALL: list[m.Message] = [
    m.Hello(1, 2, "kvnode", "A", 2**64 - 1, A, (B,), ("behind",), ("a.#",), 2**64 - 1, (("B", 1), ("C", 2**64 - 1))),
    m.Hello(1, 1, "", "A", 0, None, (), (), None, 0, ()),
    m.Digest({A: (1, 2), B: (1, 3, 5, 9)}, 77),
    m.Digest({A: ()}, 0, True),
    m.DigestAsk(),
    m.DigestAsk((0, 63)),
    m.DigestBuckets(tuple(range(64))),
    m.DigestParts((3,), {A: (1, 2)}),
    m.Versions(()),
    m.Versions((version(), version(B, 7, {A: 1, C: 9}, b"sig"), version(volatile_twin(A), expiry=5))),
    m.End({A: (1, 2)}, 3, True),
    m.Ack((m.AckState("A", 1, 2, {A: (1, 2)}, (B,), (("C", 5),), True, 99), m.AckState("B", 1, 2, {}, None, None))),
    m.PrintAsk(((b"", b"\xff"), (b"a", b"b"))),
    m.PrintTell(((b"", b"\xff"),), ((b"", b"a", 2**64 - 1),), ((b"a", b"\xff", ((KEY, 5),)),)),
    m.PathAsk(((KEY, (Dot(A, 1), Dot(B, 2))),)),
    m.PathTell(((KEY, (version(), version(B, 7, {A: 1})), (Dot(C, 2),)), (KEY, (), ()))),
    m.Event("A", 1, 2, PATH, b"\x01", "me", "anna"),
    m.Check(1, 2, True),
    m.MoreLinks((("B", 1), ("C", 2**64 - 1))),
    m.Ping(1),
    m.Pong(1),
    m.PingReq(1, "B"),
    m.PingAck(1, "B", None),
    m.PingAck(1, "B", 250),
]


def fields(of: m.Message) -> Any:
    """A message with its versions as plain tuples: versions are equal if their dots and bodies are, which is too little
    here.
    """
    return _plain(of)


def _plain(what: Any) -> Any:
    if isinstance(what, Version):
        return (
            what.inc,
            what.tick,
            dict(what.vector),
            what.key,
            what.body,
            what.sig,
            what.stamp,
            what.kind,
            what.expiry,
        )
    if isinstance(what, m.Message | m.AckState):
        return (type(what).__name__, *(_plain(getattr(what, f)) for f in what.__struct_fields__))
    if isinstance(what, tuple):
        return tuple(_plain(w) for w in what)
    return what


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_every_message_comes_back(message: m.Message) -> None:
    framed = decode(encode(7, message))
    assert framed.seq == 7
    assert fields(framed.message) == fields(message)
    assert encode(7, framed.message) == encode(7, message)


def test_every_message_type_is_tested_here() -> None:
    kinds = {kind for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, m.Message)}
    assert {type(message) for message in ALL} == kinds - {m.Message}


def test_tags_are_as_documented() -> None:
    tags = {type(message).__name__: msgpack.unpackb(encode(0, message), strict_map_key=False)[1][0] for message in ALL}
    assert tags == {
        "Hello": 1,
        "Digest": 2,
        "DigestAsk": 3,
        "DigestBuckets": 4,
        "DigestParts": 5,
        "Versions": 6,
        "End": 7,
        "Ack": 8,
        "PrintAsk": 9,
        "PrintTell": 10,
        "PathAsk": 11,
        "PathTell": 12,
        "Event": 13,
        "Check": 14,
        "MoreLinks": 15,
        "Ping": 20,
        "Pong": 21,
        "PingReq": 22,
        "PingAck": 23,
    }
    assert max(tags.values()) < 64


def test_an_incarnation_travels_once_a_message() -> None:
    many = tuple(version(B, n + 1, {A: n}) for n in range(100))
    payload = encode(0, m.Versions(many))
    assert payload.count(A.encode()) == payload.count(B.encode()) == 1
    seq, (tag, incs, items, _) = msgpack.unpackb(payload, strict_map_key=False)
    assert (seq, tag, set(incs), len(items)) == (0, 6, {A, B}, 100)


def test_a_body_is_carried_verbatim_with_fields_that_nobody_knows() -> None:
    body = msgpack.packb([["x"], 5, 0, 42, "me", None, None, None, {"from": "the future"}])
    wire = msgpack.packb([3, [6, [A], [[0, 1, {}, body, b""]], False, "more"]])
    message = decode(wire).message
    assert isinstance(message, m.Versions)
    (got,) = message.versions
    assert got.body == body
    assert not message.prompt
    assert got.vector is NO_VECTOR
    again = decode(encode(0, message)).message
    assert isinstance(again, m.Versions)
    assert again.versions[0].body == body


def test_a_node_that_does_not_say_whether_a_writer_waits_has_one_that_does() -> None:
    assert decode(msgpack.packb([3, [6, [], []]])).message == m.Versions((), prompt=True)


def test_an_unknown_message_is_a_bare_one() -> None:
    framed = decode(msgpack.packb([5, [63, "of", {"a": "newer"}, b"version"]]))
    assert framed == (5, m.Message())


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_fields_that_a_newer_version_appends_are_ignored(message: m.Message) -> None:
    seq, sent = msgpack.unpackb(encode(5, message), strict_map_key=False)
    framed = decode(msgpack.packb([seq, [*sent, "of", {"a": "newer version"}]]))
    assert fields(framed.message) == fields(message)


def test_fields_within_a_message_may_be_appended_to_as_well() -> None:
    state = m.AckState("A", 1, 2, {A: (1, 2)}, (B,), (("C", 5),), True, 99)
    seq, (tag, states) = msgpack.unpackb(encode(5, m.Ack((state,))), strict_map_key=False)
    framed = decode(msgpack.packb([seq, [tag, [[*states[0], "more"]]]]))
    assert fields(framed.message) == fields(m.Ack((state,)))


@pytest.mark.parametrize(
    "wire",
    [
        None,
        7,
        "text",
        [],
        [1],
        ["1", [20, 1]],
        [None, [20, 1]],
        [1.5, [20, 1]],
        [1, 20],
        [1, []],
        [1, {}],
        [1, [20]],
        [1, ["20", 1]],
        [1, [20, "1"]],
        [1, [20, None]],
        [1, [6]],
        [1, [6, [A], [[0]]]],
        [1, [6, [A], [[1, 1, {}, b"", b""]]]],
        [1, [6, [A], [[-1, 1, {}, b"", b""]]]],
        [1, [6, [A], [[0, 1, {1: 1}, b"\x91\x91\xa1x\x05\x00\x2a", b""]]]],
        [1, [6, [A], [[0, 1, {-1: 1}, b"", b""]]]],
        [1, [6, ["no incarnation"], []]],
        [1, [6, ["A~0"], []]],
        [1, [12, ["A"], [[b"", [], []]]]],
        [1, [[1], 1]],
        [1, [{"a": 1}, 1]],
        [1, [None, 1]],
        [1, [20.0, 1]],
        [1, [7, {A: [1]}, 0, 1]],
    ],
    ids=repr,
)
def test_malformed_messages_are_refused(wire: object) -> None:
    with pytest.raises(PeerCodecError):
        decode(msgpack.packb(wire))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgpack.packb([["x"], 5, 0]),
        msgpack.packb([["x"], "5", 0, 1]),
        msgpack.packb([["x\0y"], 5, 0, 1]),
        msgpack.packb([[1.5], 5, 0, 1]),
        msgpack.packb([[True], 5, 0, 1]),
        msgpack.packb([[2**63], 5, 0, 1]),
        msgpack.packb([["x"] * 65, 5, 0, 1]),
        msgpack.packb([["x" * 3000], 5, 0, 1]),
        msgpack.packb([["x"], 5, 0, 1]) + b"\x00",
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(PeerCodecError):
        decode(msgpack.packb([1, [6, [A], [[0, 1, {}, body, b""]]]]))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x92\x01", b"\x92\x01\x91\x14\x00", b"\x92\x01\x92\x14\x01\x00"])
def test_bytes_that_are_no_message_are_refused(payload: bytes) -> None:
    with pytest.raises(PeerCodecError):
        decode(payload)


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(PeerCodecError):
        decode(b"\x92\x01\x93\x16\x01\xa2\xff\xfe")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(PeerCodecError):
        decode(b"\x92\x01\x92\x14" + b"\x91" * 200_000 + b"\x01")
    with pytest.raises(PeerCodecError):
        decode(b"\x92\x01\x92\x63" + b"\x91" * 200_000)


def test_a_huge_announced_length_is_harmless() -> None:
    for head in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(PeerCodecError):
            decode(b"\x92\x01\x92\x06" + head)


def test_the_frame_bound_is_one_bound() -> None:
    assert peer.MAX_FRAME_BYTES == MAX_PAYLOAD_BYTES


def test_a_message_to_many_links_differs_in_its_number_alone() -> None:
    one, other = m.Versions((version(),)), m.Versions((version(tick=2),))
    encoder = peer.Encoder()
    for seq, message in [(0, one), (7, one), (300, one), (300, other), (2**40, one), (1, m.Ping(1)), (2, one)]:
        assert encoder.encode(seq, message) == peer.Encoder().encode(seq, message)
        got = decode(encoder.encode(seq, message))
        assert (got.seq, fields(got.message)) == (seq, fields(message))
