"""Streams of values in several forms: JSON, JSON Lines, YAML, MessagePack, CBOR, Python literals. Pure.

Each form carries any number of values, one after the other. What a form lacks (bytes in JSON, paths nearly
everywhere) is written there as the tagged maps of :mod:`kvnode.codec.values`. CBOR (RFC 8949) has times and integers of
any size; a path is tag 39 (an identifier) around its elements. Python is read by :func:`ast.literal_eval`, so nothing
is run.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from kvnode.codec.values import from_json, pack, to_json, unpack
from kvnode.core.path import Path, PathError

from .yamlout import to_yaml

_CBOR_PATH: Final = 39
_BLANK: Final = " \t\r\n"


class ConvertError(ValueError):
    """Input that is not of its form, or a value that the other form cannot carry: one line, with the place."""


class Form(NamedTuple):
    """How a stream of values is read and how one of them is written."""

    read: Callable[[bytes], Iterator[Any]]
    write: Callable[[Any], bytes]
    text: bool = True


def convert(data: bytes, source: str, target: str, change: Callable[[Any], Any] = lambda value: value) -> bytes:
    """All values of `data`, each passed through `change`, in the other form. Raises ConvertError."""
    out = []
    for number, value in enumerate(_numbered(FORMS[source].read(data)), 1):
        try:
            out.append(FORMS[target].write(change(value)))
        except ValueError as err:
            raise ConvertError(f"value {number}: {err}") from None
    return b"".join(out)


def _numbered(values: Iterator[Any]) -> Iterator[Any]:
    """The values; an error of the form says at which of them."""
    number = 1
    while True:
        try:
            value = next(values)
            pack(value)
        except StopIteration:
            return
        except (ValueError, SyntaxError, TypeError, RecursionError) as err:
            what = str(err) or type(err).__name__
            raise ConvertError(f"value {number}: {' '.join(what.split())}") from None
        yield value
        number += 1


# -- forms ---------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _read_json(data: bytes) -> Iterator[Any]:
    text, decoder, at = _text(data), json.JSONDecoder(), 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        yield from_json(value)


def _write_json(value: Any) -> bytes:
    return json.dumps(to_json(value), ensure_ascii=False, indent=2).encode() + b"\n"


def _write_json_line(value: Any) -> bytes:
    return json.dumps(to_json(value), ensure_ascii=False).encode() + b"\n"


def _read_yaml(data: bytes) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        for value in YAML(typ="safe", pure=True).load_all(_text(data)):
            yield from_json(_plain(value))
    except YAMLError as err:
        raise ConvertError(str(err)) from None


def _plain(value: Any) -> Any:
    """What YAML reads beyond JSON: its own times and bytes are values here, its dates are text."""
    if isinstance(value, datetime):
        return to_json(value if value.tzinfo else value.astimezone())
    if isinstance(value, bytes):
        return to_json(value)
    if isinstance(value, dict):
        return {k if isinstance(k, str) else _yaml_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _yaml_key(key: Any) -> str:
    raise ConvertError(f"the key {key!r} is no text; quote it, or write the map as $map")


def _write_yaml(value: Any) -> bytes:
    return f"---\n{to_yaml(to_json(value))}\n".encode()


def _read_msgpack(data: bytes) -> Iterator[Any]:
    import msgpack

    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    start = 0
    while start < len(data):
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            raise ConvertError(f"it breaks off; the last value begins at byte {start}") from None
        end = unpacker.tell()
        yield unpack(data[start:end])
        start = end


def _read_cbor(data: bytes) -> Iterator[Any]:
    import cbor2

    stream = io.BytesIO(data)
    while (start := stream.tell()) < len(data):
        try:
            yield _from_cbor(cbor2.load(stream))
        except (cbor2.CBORDecodeError, PathError) as err:
            raise ConvertError(f"byte {start}: {err}") from None


def _from_cbor(value: Any) -> Any:
    from cbor2 import CBORTag

    if isinstance(value, CBORTag):
        if value.tag != _CBOR_PATH:
            raise ConvertError(f"tag {value.tag} has no meaning here")
        return Path(value.value)
    if isinstance(value, Mapping):
        return {k: _from_cbor(v) for k, v in value.items()}
    return [_from_cbor(v) for v in value] if isinstance(value, (list, tuple)) else value


def _write_cbor(value: Any) -> bytes:
    import cbor2

    return bytes(cbor2.dumps(_to_cbor(value)))


def _to_cbor(value: Any) -> Any:
    from cbor2 import CBORTag

    if isinstance(value, Path):
        return CBORTag(_CBOR_PATH, list(value))
    if isinstance(value, dict):
        return {k: _to_cbor(v) for k, v in value.items()}
    return [_to_cbor(v) for v in value] if isinstance(value, (list, tuple)) else value


def _read_python(data: bytes) -> Iterator[Any]:
    for statement in ast.parse(_text(data)).body:
        if not isinstance(statement, ast.Expr):
            raise ConvertError(f"line {statement.lineno}: only literals are read")
        yield _from_python(ast.literal_eval(statement.value))


def _from_python(value: Any) -> Any:
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return from_json({k: to_json(_from_python(v)) for k, v in value.items()})
    if isinstance(value, dict):
        return {k: _from_python(v) for k, v in value.items()}
    return [_from_python(v) for v in value] if isinstance(value, (list, tuple)) else value


def _write_python(value: Any) -> bytes:
    return f"{_literal(value)!r}\n".encode()


def _literal(value: Any) -> Any:
    if isinstance(value, (Path, datetime)) or (isinstance(value, float) and value - value != 0):
        return to_json(value)
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in value.items()}
    return [_literal(v) for v in value] if isinstance(value, list) else value


FORMS: Final[Mapping[str, Form]] = {
    "json": Form(_read_json, _write_json),
    "jsonl": Form(_read_json, _write_json_line),
    "yaml": Form(_read_yaml, _write_yaml),
    "msgpack": Form(_read_msgpack, pack, text=False),
    "cbor": Form(_read_cbor, _write_cbor, text=False),
    "python": Form(_read_python, _write_python),
}
"""The forms by name."""


# -- paths that leave out what the one before has --------------------------------------------------------------


class Shorten:
    """Replaces `path` (a list, or a path) of each map by what follows the elements that it shares with the path before;
    `depth` counts those.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()

    def __call__(self, record: Any) -> Any:
        """The record, changed; anything else as it is."""
        whole = _path_of(record)
        if whole is None:
            return record
        depth = sum(1 for _ in _shared(whole, self._last))
        self._last = whole
        return {**record, "path": list(whole[depth:]), "depth": depth}


class Lengthen:
    """Undoes :class:`Shorten`. Raises ConvertError for a depth that leads nowhere."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()

    def __call__(self, record: Any) -> Any:
        """The record, changed; anything else as it is."""
        rest = _path_of(record)
        if rest is None or "depth" not in record:
            return record
        depth = record["depth"]
        if not isinstance(depth, int) or not 0 <= depth <= len(self._last):
            raise ConvertError(f"depth {depth!r} of a path that follows one of {len(self._last)} elements")
        self._last = (*self._last[:depth], *rest)
        return {k: v for k, v in record.items() if k != "depth"} | {"path": list(self._last)}


def _path_of(record: Any) -> tuple[Any, ...] | None:
    path = record.get("path") if isinstance(record, dict) else None
    return tuple(path) if isinstance(path, (list, tuple)) else None


def _shared(a: Iterable[Any], b: Iterable[Any]) -> Iterator[Any]:
    for x, y in zip(a, b, strict=False):
        if x != y:
            return
        yield x
