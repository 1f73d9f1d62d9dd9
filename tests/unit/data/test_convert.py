"""Forms of values: any value through any form and back, streams, and input that is none."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import cbor2
import msgpack
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kvnode.codec.values import pack
from kvnode.core.path import Path
from kvnode.data.convert import FORMS, ConvertError, Lengthen, Shorten, convert

_texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f\ufeff\u2028\u2029"), max_size=8
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 80), 1 << 80)
    | st.floats()
    | _texts
    | st.binary(max_size=8)
    | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds are naive
    | st.lists(_texts | st.integers(0, 99), max_size=3).map(lambda e: Path(x for x in e if x != "\0"))
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts | st.integers(-9, 9), inner, max_size=3),
    max_leaves=8,
)


def whole(form: str, values: list[Any]) -> bytes:
    return b"".join(FORMS[form].write(value) for value in values)


@pytest.mark.parametrize("form", sorted(FORMS))
@given(values=st.lists(_values, max_size=4))
def test_any_values_come_back(form: str, values: list[Any]) -> None:
    back = list(FORMS[form].read(whole(form, values)))
    assert [pack(v) for v in back] == [pack(v) for v in values]


VALUE = {"a": [1, 2.5, None, True, "on"], "b": {"c": "x: y"}}


def test_others_read_what_is_written() -> None:
    assert json.loads(whole("json", [VALUE])) == VALUE
    assert [json.loads(line) for line in whole("jsonl", [VALUE, 1]).splitlines()] == [VALUE, 1]
    assert list(yaml.safe_load_all(whole("yaml", [VALUE, 1]))) == [VALUE, 1]
    assert msgpack.unpackb(whole("msgpack", [VALUE])) == VALUE
    assert cbor2.loads(whole("cbor", [VALUE])) == VALUE
    assert eval(whole("python", [VALUE])) == VALUE  # what this test wrote


def test_what_others_write_is_read() -> None:
    assert list(FORMS["json"].read(b'\xef\xbb\xbf {"a":1}[2]\n3 4')) == [{"a": 1}, [2], 3, 4]
    assert list(FORMS["yaml"].read(b"a: on\nb: 12:30\nc: 0o17\n--- !!binary aGk=\n")) == [
        {"a": "on", "b": "12:30", "c": 15},
        b"hi",
    ]
    assert list(FORMS["yaml"].read(b"2026-01-01\n--- 2026-01-01T12:00:00Z\n")) == [
        "2026-01-01",
        datetime(2026, 1, 1, 12, tzinfo=UTC),
    ]
    assert list(FORMS["python"].read(b"{1: b'x',\n 2: (3,)}\n-5; 'a'\n")) == [{1: b"x", 2: [3]}, -5, "a"]
    when = datetime(2026, 1, 1, tzinfo=UTC)
    data = cbor2.dumps({"t": when, 1: 1 << 70}) + cbor2.dumps(cbor2.CBORTag(39, ["a", 3]))
    assert list(FORMS["cbor"].read(data)) == [{"t": when, 1: 1 << 70}, Path(("a", 3))]


@pytest.mark.parametrize(
    ("form", "data", "says"),
    [
        ("json", b'{"a": 1} {"b"', "value 2: Expecting ':' delimiter"),
        ("json", b"\xff", "value 1: 'utf-8' codec"),
        ("json", b"[" * 10_000, "value 1: "),
        ("yaml", b"a: [1", "value 1: "),
        ("yaml", b"1.5: x", "the key 1.5 is no text"),
        ("msgpack", msgpack.packb([1, 2])[:-1], "it breaks off; the last value begins at byte 0"),
        ("msgpack", msgpack.packb(1) + b"\xc1", "value 2: "),
        ("msgpack", msgpack.packb(msgpack.ExtType(77, b"")), "value 1: "),
        ("cbor", b"\x82\x01", "value 1: byte 0"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(77_777, 1)), "tag 77777 has no meaning"),
        ("cbor", cbor2.dumps({1.5: 2}), "value 1: "),
        ("python", b"__import__('os')", "value 1: malformed"),
        ("python", b"x = 1", "line 1: only literals are read"),
        ("python", b"{1, 2}", "value 1: "),
        ("python", b"(", "value 1: '(' was never closed"),
    ],
)
def test_input_that_is_none_is_refused_in_one_line(form: str, data: bytes, says: str) -> None:
    with pytest.raises(ConvertError) as caught:
        convert(data, form, "json")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", sorted(FORMS))
@given(data=st.binary(max_size=60))
def test_no_bytes_raise_anything_else(form: str, data: bytes) -> None:
    try:
        convert(data, form, "json")
    except ConvertError as err:
        assert "\n" not in str(err)


def test_nan_survives_everywhere() -> None:
    for form in FORMS:
        (back,) = FORMS[form].read(FORMS[form].write(math.nan))
        assert math.isnan(back)


_paths = st.lists(st.lists(st.sampled_from(["a", "b", 1]), max_size=5), max_size=12)


@given(_paths)
def test_paths_are_shortened_and_made_whole_again(paths: list[list[Any]]) -> None:
    records = [{"path": path, "value": n} for n, path in enumerate(paths)]
    data = whole("jsonl", [*records, 5])
    short = convert(data, "jsonl", "msgpack", Shorten())
    back = convert(short, "msgpack", "jsonl", Lengthen())
    assert [json.loads(line) for line in back.splitlines()] == [*records, 5]


def test_a_path_leaves_out_what_the_one_before_has() -> None:
    paths = [Path.parse(text) for text in ("a.b", "a.b.c.d", "a.b.c.e", "a.x")]
    shorten = Shorten()
    short = [shorten({"path": p}) for p in paths]
    assert [(r["depth"], r["path"]) for r in short] == [(0, ["a", "b"]), (2, ["c", "d"]), (3, ["e"]), (1, ["x"])]


@pytest.mark.parametrize("depth", [1, -1, "x"])
def test_a_depth_that_leads_nowhere(depth: Any) -> None:
    with pytest.raises(ConvertError, match="value 1: depth"):
        convert(pack({"path": ["a"], "depth": depth}), "msgpack", "json", Lengthen())
