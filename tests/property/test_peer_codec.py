"""The peer codec: what is encoded comes back, and whatever bytes arrive, nothing but PeerCodecError is raised."""

from __future__ import annotations

from typing import Any

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.codec.peer import PeerCodecError, decode, encode
from kvnode.codec.values import pack
from kvnode.core import messages as m
from kvnode.core.entry import Version, body_of
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Ticks, incarnation, volatile_twin

_u64 = st.integers(0, 2**64 - 1)
_ticks = st.integers(1, 2**63 - 1)
_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
_incs = st.builds(incarnation, _names, _u64) | st.builds(lambda n: volatile_twin(incarnation(n, 5)), _names)
_dots = st.builds(Dot, _incs, _ticks)
_elements = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5) | st.integers(
    -(2**63), 2**63 - 1
)
_paths = st.lists(_elements, min_size=1, max_size=4).map(Path)
_values = st.none() | st.integers(-5, 5) | st.text(max_size=5) | st.lists(st.booleans(), max_size=3)
_some_keys = st.binary(max_size=8)


@st.composite
def _versions(draw: st.DrawFn) -> Version:
    value = None if draw(st.booleans()) else pack(draw(_values))
    body = body_of(
        draw(_paths),
        draw(st.integers(0, 2**63 - 1)),
        value,
        draw(st.text(max_size=3)),
        draw(st.none() | st.text(max_size=3)),
        draw(st.none() | st.integers(0, 2**50)),
    )
    vector = draw(st.dictionaries(_incs, _ticks, max_size=3))
    return Version.make(draw(_dots), vector, body, draw(st.binary(max_size=4)))


def _tuples(of: st.SearchStrategy[Any], max_size: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=max_size).map(tuple)


_ranges = st.dictionaries(_incs, st.sets(st.integers(1, 30), max_size=6).map(lambda t: Ticks.of(*t).bounds), max_size=3)
_key_ranges = _tuples(st.tuples(_some_keys, _some_keys))
_processes = _tuples(st.tuples(_names, _u64))
_acks = st.builds(
    m.AckState,
    _names,
    _u64,
    _u64,
    _ranges,
    st.none() | _tuples(_incs),
    st.none() | _processes,
    st.booleans(),
    st.integers(0, 2**40),
)

MESSAGES: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(
        m.Hello,
        st.integers(0, 9),
        st.integers(0, 9),
        st.text(max_size=5),
        _names,
        _u64,
        st.none() | _incs,
        _tuples(_incs),
        _tuples(st.text(max_size=3)),
        st.none() | _tuples(st.text(max_size=3)),
        _u64,
        _processes,
    ),
    st.builds(m.Digest, _ranges, _u64, st.booleans()),
    st.builds(m.DigestAsk, st.none() | _tuples(st.integers(0, 63))),
    st.builds(m.DigestBuckets, _tuples(_u64, 64)),
    st.builds(m.DigestParts, _tuples(st.integers(0, 63)), _ranges),
    st.builds(m.Versions, _tuples(_versions())),
    st.builds(m.End, _ranges, st.integers(0, 99), st.booleans()),
    st.builds(m.Ack, _tuples(_acks)),
    st.builds(m.PrintAsk, _key_ranges),
    st.builds(
        m.PrintTell,
        _key_ranges,
        _tuples(st.tuples(_some_keys, _some_keys, _u64)),
        _tuples(st.tuples(_some_keys, _some_keys, _tuples(st.tuples(_some_keys, _u64)))),
    ),
    st.builds(m.PathAsk, _tuples(st.tuples(_some_keys, _tuples(_dots)))),
    st.builds(m.PathTell, _tuples(st.tuples(_some_keys, _tuples(_versions()), _tuples(_dots)))),
    st.builds(m.Event, _names, _u64, _u64, _paths.map(tuple), st.binary(max_size=5), st.text(max_size=3), st.none()),
    st.builds(m.Check, _u64, _u64, st.booleans()),
    st.builds(m.Ping, _u64),
    st.builds(m.PingReq, _u64, _names),
    st.builds(m.PingAck, _u64, _names, st.none() | st.integers(0, 99)),
)


def plain(what: Any) -> Any:
    """A message with its versions taken apart, to be compared in every field."""
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
        return (type(what), *(plain(getattr(what, f)) for f in what.__struct_fields__))
    return tuple(map(plain, what)) if isinstance(what, tuple) else what


def _read(payload: bytes) -> m.Message | None:
    try:
        return decode(payload).message
    except PeerCodecError as err:
        assert "\n" not in str(err)
        return None


@given(st.integers(0, 2**63), MESSAGES)
def test_what_is_encoded_comes_back(seq: int, message: m.Message) -> None:
    framed = decode(encode(seq, message))
    assert framed.seq == seq
    assert plain(framed.message) == plain(message)
    assert plain(decode(encode(seq, framed.message)).message) == plain(message)


@given(st.binary(max_size=60))
@example(b"\x92\x01\x92\x91\x01\x01")
def test_random_bytes_raise_nothing_else(payload: bytes) -> None:
    _read(payload)
    _read(b"\x92\x01" + payload)


@given(MESSAGES, st.data())
def test_mutated_messages_raise_nothing_else(message: m.Message, data: st.DataObject) -> None:
    payload = bytearray(encode(1, message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        match data.draw(st.sampled_from("sdict")):
            case "s":
                payload[at] = data.draw(st.integers(0, 255))
            case "d":
                del payload[at : at + data.draw(st.integers(1, 3))]
            case "i":
                payload[at:at] = data.draw(st.binary(min_size=1, max_size=3))
            case "c":
                payload = payload[: at + 1]
            case _:
                payload += payload[at:]
        payload = payload or bytearray(b"\x92")
    got = _read(bytes(payload))
    if got is not None:
        encode(1, got)  # what was read can be sent on


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3) | st.integers(0, 5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.sampled_from([*range(1, 16), 20, 21, 22, 23, 63, 200]), st.lists(_json, max_size=8))
def test_arrays_of_anything_raise_nothing_else(tag: int, fields: list[Any]) -> None:
    _read(msgpack.packb([1, [tag, *fields]]))


@given(_json, st.lists(_json, max_size=3))
def test_tags_of_any_type_raise_nothing_else(tag: Any, fields: list[Any]) -> None:
    _read(msgpack.packb([1, [tag, *fields]]))
