"""Values: bytes and JSON give back what was put in; what is no value is refused with its place; hostile bytes end in
a ValueError and nothing else. The `msgpack` package is the independent decoder.
"""

from __future__ import annotations

import enum
import json
import math
import struct
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.codec.values import (
    EXT_BIG_INT,
    EXT_PATH,
    MAX_DEPTH,
    MAX_INT_BYTES,
    MAX_VALUE_BYTES,
    ValueCodecError,
    ValueDecodeError,
    ValueTooLarge,
    ValueTypeError,
    dump_json,
    from_json,
    load_json,
    pack,
    to_json,
    unpack,
)
from kvnode.core.path import Path

TAGS = ("$bytes", "$time", "$path", "$float", "$map")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
element = texts.filter(lambda t: "\0" not in t) | st.integers(-(2**63), 2**63 - 1)
paths = st.lists(element, max_size=4).map(Path)
zones = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda d: timezone(timedelta(seconds=d // timedelta(seconds=1)))
)
times = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001  # the zone is drawn
ints = st.integers() | st.integers(-(2**70), 2**70) | st.integers(-(2 ** (8 * MAX_INT_BYTES - 1)), -(2**8000))
scalars = st.none() | st.booleans() | ints | st.floats() | texts | st.binary(max_size=40) | times | paths
keys = texts | st.integers(-(2**63), 2**64 - 1) | st.sampled_from(TAGS)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4), max_leaves=25)


def same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, and takes NaN for NaN and the order of maps into account."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b) if a == a else b != b
    if isinstance(a, dict):
        return same([[k, v] for k, v in a.items()], [[k, v] for k, v in b.items()])
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def from_msgpack(packed: bytes) -> Any:
    """What the `msgpack` package, and our three lines on extension types, make of it."""

    def ext(code: int, data: bytes) -> Any:
        return Path.parse(data.decode()) if code == EXT_PATH else int.from_bytes(data, "big", signed=True)

    return msgpack.unpackb(packed, ext_hook=ext, timestamp=3, strict_map_key=False)


# -- there and back --------------------------------------------------------------------------------------------


@given(values)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@given(values)
def test_an_independent_decoder_reads_the_same(value: Any) -> None:
    assert same(from_msgpack(pack(value)), value)


@given(values)
def test_packing_again_gives_the_same_bytes(value: Any) -> None:
    packed = pack(value)
    assert pack(unpack(packed)) == packed


@given(values)
@example({"$map": [["a", 1]]})
@example({"$bytes": "no base64 !"})
@example([{"$time": None}, {"$path": 3, "b": 1}, {"$other": 1}, {"$float": "nan"}])
def test_json_gives_the_value_back(value: Any) -> None:
    assert same(from_json(to_json(value)), value)
    assert same(load_json(dump_json(value)), value)


@given(values)
def test_the_json_is_strict_json_and_one_line(value: Any) -> None:
    text = dump_json(value)
    assert "\n" not in text

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(text, parse_constant=refuse)


@given(st.dictionaries(keys, values, max_size=6), st.randoms())
def test_canonical_bytes_do_not_depend_on_the_order_of_maps(value: dict[Any, Any], random: Any) -> None:
    pairs = list(value.items())
    random.shuffle(pairs)
    assert pack(dict(pairs), canonical=True) == pack(value, canonical=True)
    assert dump_json(dict(pairs), canonical=True) == dump_json(value, canonical=True)
    assert pack(unpack(pack(value, canonical=True)), canonical=True) == pack(value, canonical=True)


def test_maps_keep_their_order_unless_canonical() -> None:
    value = {"b": 1, 10: 2, "a": 3, -1: 4}
    assert list(unpack(pack(value))) == ["b", 10, "a", -1]
    assert list(unpack(pack(value, canonical=True))) == [-1, 10, "a", "b"]
    assert list(unpack(pack([value], canonical=True))[0]) == [-1, 10, "a", "b"]


# -- the bytes themselves (vectors for other implementations) ---------------------------------------------------


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (None, "c0"),
        (True, "c3"),
        (-33, "d0df"),
        (2**64 - 1, "cfffffffffffffffff"),
        (-(2**63), "d38000000000000000"),
        (2**64, "c70902010000000000000000"),
        (-(2**63) - 1, "c70902ff7fffffffffffffff"),
        (-(2**71), "c70902800000000000000000"),
        (21.5, "cb4035800000000000"),
        (math.nan, "cb7ff8000000000000"),
        (-math.nan, "cb7ff8000000000000"),
        ("attic", "a56174746963"),
        (b"\x00\xff", "c40200ff"),
        ((1, "a"), "9201a161"),
        ({"a": 1, 2: None}, "82a1610102c0"),
        (Path(("home", 3)), "c70703686f6d652e3a33"),
        (Path(), "d4033a"),
        (datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "d6ff5e0be100"),
        (datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "d7ff00000fa05e0be100"),
    ],
)
def test_vectors(value: Any, packed: str) -> None:
    assert pack(value).hex() == packed
    assert same(unpack(bytes.fromhex(packed)), unpack(pack(value)))


def test_every_nan_is_the_same_one() -> None:
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    assert pack([odd]) == pack([math.nan])


def test_a_time_is_given_back_in_utc() -> None:
    got = unpack(pack(datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))))
    assert got == datetime(2026, 6, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert got.tzinfo is UTC


class _Colour(enum.IntEnum):
    RED = 3


class _Point(NamedTuple):
    x: int
    y: int


class _Text(str):
    __slots__ = ()


class _Float(float):
    pass


class _Bytes(bytes):
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (_Colour.RED, 3),
        (_Point(1, 2), [1, 2]),
        (_Text("é"), "é"),
        (_Float(1.5), 1.5),
        (_Bytes(b"x"), b"x"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({_Text("k"): 1, _Colour.RED: 2}, {"k": 1, 3: 2}),
    ],
)
def test_a_subclass_counts_as_what_it_derives_from(value: Any, plain: Any) -> None:
    assert same(unpack(pack(value)), plain)


# -- what is refused, and where --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        ({1, 2}, "value", "set is no value: give a sorted list"),
        ([0, {"a": date(2026, 1, 1)}], "value[1]['a']", "datetime with a time zone"),
        ({"t": datetime(2026, 1, 1)}, "value['t']", "without a time zone names no instant"),  # noqa: DTZ001
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "value", "outside the years"),
        ((1, {5: "\ud800"}), "value[1][5]", "lone surrogate"),
        ({"a": {"\udfff": 1}}, "value['a']['\\udfff']", "lone surrogate"),
        ({"a": {1.0: 2}}, "value['a']", "not float"),
        ([{True: 2}], "value[0][True]", "not bool"),
        ({"a": {2**64: 1}}, "value['a'][18446744073709551616]", "integer key of a map lies in"),
        ({None: 2}, "value", "not NoneType"),
        ({Path(("a",)): 1}, "value", "not kvnode.core.path.Path"),
        (bytearray(b"x"), "value", "give bytes"),
        ([memoryview(b"x")], "value[0]", "give bytes"),
        (Decimal(1), "value", "decimal.Decimal is no value: give a float, or text"),
        (UUID(int=0), "value", "give its text"),
        (1j, "value", "complex is no value: a value is None"),
        ({"x" * 100: object()}, "value['" + "x" * 36 + "...]", "object is no value"),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(value: Any, where: str, what: str) -> None:
    for refused in (lambda: pack(value), lambda: to_json(value)):
        with pytest.raises(ValueTypeError) as error:
            refused()
        assert error.value.where == where
        assert what in str(error.value)
        assert "\n" not in str(error.value)
        assert (f"(at {where})" in str(error.value)) == bool(error.value.keys)


def test_canonical_refuses_the_same_keys() -> None:
    with pytest.raises(ValueTypeError, match="not float"):
        pack({"a": {1.0: 2, "b": 3}}, canonical=True)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def test_depth_is_bounded() -> None:
    assert same(unpack(pack(nested(MAX_DEPTH))), nested(MAX_DEPTH))
    assert same(load_json(dump_json(nested(MAX_DEPTH))), nested(MAX_DEPTH))
    with pytest.raises(ValueTooLarge, match="nested deeper than 64"):
        pack(nested(MAX_DEPTH + 1))
    ours = json.dumps(nested(MAX_DEPTH + 1))
    with pytest.raises(ValueDecodeError, match="nested deeper than 64"):
        load_json(ours)
    with pytest.raises(ValueDecodeError, match="nested deeper than 64"):
        load_json("[" * 200_000)
    pairs: Any = 1
    for _ in range(MAX_DEPTH + 1):
        pairs = {"$map": [[1, pairs]]}
    with pytest.raises(ValueDecodeError, match="nested deeper than 64"):
        from_json(pairs)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueTooLarge, match="nested deeper"):
        pack(loop)


def test_size_is_bounded_to_the_byte() -> None:
    most = b"x" * (MAX_VALUE_BYTES - 5)
    assert len(pack(most)) == MAX_VALUE_BYTES
    assert unpack(pack(most)) == most
    for too_large in (most + b"x", [most, 1], "é" * (MAX_VALUE_BYTES // 2), [1] * MAX_VALUE_BYTES):
        with pytest.raises(ValueTooLarge, match="longer than 1048576 bytes"):
            pack(too_large)
    with pytest.raises(ValueDecodeError, match="more than 1048576"):
        unpack(b"\xc6" + len(most + b"x").to_bytes(4, "big") + most + b"x")


def test_a_small_object_with_large_contents_is_refused_before_it_is_written_out() -> None:
    value: Any = "x" * 1000
    for _ in range(40):
        value = [value, value]  # 2**40 texts if written out
    with pytest.raises(ValueTooLarge):
        pack(value)


def test_integers_are_bounded_so_that_they_can_be_printed() -> None:
    top = 2 ** (8 * MAX_INT_BYTES - 1)
    for value in (top - 1, -top):
        assert unpack(pack(value)) == value
        assert load_json(dump_json(value)) == value
        assert str(value)
    for value in (top, -top - 1):
        with pytest.raises(ValueTooLarge, match="at most 1024 bytes"):
            pack(value)


# -- hostile bytes -----------------------------------------------------------------------------------------------


def ext(code: int, data: bytes) -> bytes:
    return b"\xc8" + len(data).to_bytes(2, "big") + code.to_bytes(1, "big", signed=True) + data


@pytest.mark.parametrize(
    ("packed", "what"),
    [
        (b"", "truncated"),
        (b"\xc1", "invalid opcode"),
        (b"\xc0\xc0", "trailing"),
        (b"\x91" * 65 + b"\xc0", "nested deeper"),
        (b"\x81\xa1k" * 65 + b"\xc0", "nested deeper"),
        (b"\x91" * 500_000 + b"\xc0", "nested deeper"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\xa1\xff", "no value"),
        (b"\x81\xcb" + bytes(8) + b"\x01", "not float"),
        (b"\x91\x81\xc0\x01", "not NoneType"),
        (b"\x81\xc3\x01", "not bool"),
        (b"\x81\x91\x01\x01", "not tuple"),
        (b"\x81\x91\x80\x01", "hashable"),
        (b"\x81" + ext(EXT_BIG_INT, b"\1" + bytes(8)) + b"\x01", "integer key"),
        (b"\x81\xc4\x01a\x01", "not bytes"),
        (b"\x81" + ext(EXT_PATH, b"a") + b"\x01", "not kvnode.core.path.Path"),
        (ext(4, b"x"), "extension type 4 is unknown"),
        (ext(-2, b"x"), "extension type -2 is unknown"),
        (ext(EXT_BIG_INT, b""), "integer of 0 bytes"),
        (ext(EXT_BIG_INT, bytes(MAX_INT_BYTES + 1)), "integer of 1025 bytes"),
        (ext(EXT_PATH, b""), "no path"),
        (ext(EXT_PATH, b"a..b"), "empty element"),
        (ext(EXT_PATH, b"\xff"), "no value"),
        (ext(EXT_PATH, b":" + b"9" * 5000), "no value"),
        (ext(-1, b"x"), "timestamp"),
        (ext(-1, b"\xff" * 12), "out of range"),
        (ext(-1, bytes(4) + (2**40).to_bytes(8, "big")), "out of range"),
    ],
)
def test_bytes_that_are_no_value(packed: bytes, what: str) -> None:
    with pytest.raises(ValueDecodeError, match=what):
        unpack(packed)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_one_error(packed: bytes) -> None:
    try:
        value = unpack(packed)
    except ValueDecodeError as error:
        assert "\n" not in str(error)
    else:
        assert same(unpack(pack(value)), value)


@given(values, st.data())
def test_damaged_bytes_end_in_a_value_or_one_error(value: Any, data: st.DataObject) -> None:
    packed = bytearray(pack(value))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    try:
        got = unpack(bytes(packed))
    except ValueDecodeError:
        return
    assert same(unpack(pack(got)), got)


def test_a_raw_part_of_a_message_is_taken() -> None:
    raw = msgspec.msgpack.decode(pack([21.5]), type=list[msgspec.Raw])[0]
    assert unpack(raw) == 21.5


def test_every_error_is_a_value_error() -> None:
    assert issubclass(ValueCodecError, ValueError)
    assert {ValueTypeError, ValueTooLarge, ValueDecodeError} == set(ValueCodecError.__subclasses__())
