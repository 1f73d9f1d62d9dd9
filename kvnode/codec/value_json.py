"""Values as JSON; the form is told in :mod:`kvnode.codec.values`, which is where to import from."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from kvnode.core.path import Path, PathError

from .value_bytes import MAX_DEPTH, ValueCodecError, ValueDecodeError, check_key, pack, short, to_utc, type_name, unpack

MAX_JSON_CHARS: Final = 16 << 20
"""The longest text that :func:`load_json` reads: the JSON of a value is longer than its packed form."""


def to_json(value: Any, *, canonical: bool = False) -> Any:
    """`value` as what :mod:`json` writes: every value can be written so, and :func:`from_json` gives it back.

    Raises what :func:`pack` does for what is no value.
    """
    return _to_json(unpack(pack(value, canonical=canonical)))


def dump_json(value: Any, *, canonical: bool = False) -> str:
    """:func:`to_json` as one line of text."""
    return json.dumps(to_json(value, canonical=canonical), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _to_json(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return _map_to_json(value)
    if kind is list:
        return [_to_json(item) for item in value]
    if kind is float and not math.isfinite(value):
        return {"$float": str(value)}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind is datetime:
        return {"$time": f"{value.replace(tzinfo=None).isoformat()}Z"}
    if kind is Path:
        return {"$path": str(value)}
    return value


def _map_to_json(value: dict[Any, Any]) -> dict[str, Any]:
    looks_tagged = len(value) == 1 and next(iter(value)) in _READERS
    if looks_tagged or any(type(key) is int for key in value):
        return {"$map": [[key, _to_json(item)] for key, item in value.items()]}
    return {key: _to_json(item) for key, item in value.items()}


def from_json(value: Any) -> Any:
    """The value of a JSON form, as :func:`to_json` makes it. Raises :class:`ValueDecodeError`; the sizes are left to
    :func:`pack`.
    """
    return _from_json(value, 0)


def load_json(text: str) -> Any:
    """:func:`from_json` of a text. Raises :class:`ValueDecodeError`."""
    if len(text) > MAX_JSON_CHARS:
        raise ValueDecodeError(f"the JSON text has {len(text)} characters, more than {MAX_JSON_CHARS}")
    try:
        return from_json(json.loads(text, parse_constant=_refuse_constant))
    except RecursionError:
        raise ValueDecodeError(f"lists and maps are nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise ValueDecodeError(f"this is not JSON: {error}") from None
    except ValueCodecError:
        raise
    except ValueError:
        raise ValueDecodeError("this JSON has an integer with too many digits") from None


def _refuse_constant(name: str) -> Any:
    raise ValueDecodeError(f'{name} is not JSON; write {{"$float": "nan"}}, "inf" or "-inf"')


def _from_json(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is list:
        return _list_from_json(value, depth + 1)
    if kind is dict:
        reader = _READERS.get(next(iter(value))) if len(value) == 1 else None
        if reader is not None:
            return reader(next(iter(value.values())), depth)
        return _pairs_from_json(value.items(), depth + 1)
    if kind is float and not math.isfinite(value):
        raise ValueDecodeError('this number is too large for a float; write {"$float": "inf"}')
    return value


def _list_from_json(value: list[Any], depth: int) -> list[Any]:
    _check_json_depth(depth)
    out: list[Any] = []
    try:
        for item in value:
            out.append(_from_json(item, depth))
    except ValueDecodeError as error:
        raise error.within(len(out)) from None
    return out


def _pairs_from_json(pairs: Iterable[Any], depth: int) -> dict[Any, Any]:
    _check_json_depth(depth)
    out: dict[Any, Any] = {}
    key: Any = None
    try:
        for key, item in pairs:
            out[key] = _from_json(item, depth)
    except ValueDecodeError as error:
        raise error.within(key) from None
    return out


def _check_json_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueDecodeError(f"lists and maps are nested deeper than {MAX_DEPTH}")


def _read_bytes(value: Any, _depth: int) -> bytes:
    try:
        return base64.b64decode(_text(value, "$bytes"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueDecodeError(f"$bytes is not base64: {error}") from None


_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _read_time(value: Any, _depth: int) -> datetime:
    text = _text(value, "$time")
    if not _RFC3339.fullmatch(text):
        raise ValueDecodeError(f"$time {short(text)} is not RFC 3339 with a time zone, such as 2026-01-31T12:00:00Z")
    try:
        return to_utc(datetime.fromisoformat(text.upper()))
    except ValueError as error:
        raise ValueDecodeError(f"$time {short(text)}: {error}") from None


def _read_path(value: Any, _depth: int) -> Path:
    try:
        return Path.parse(_text(value, "$path"))
    except PathError as error:
        raise ValueDecodeError(f"$path: {error}") from None


def _read_float(value: Any, _depth: int) -> float:
    if value not in ("nan", "inf", "-inf"):
        raise ValueDecodeError(f"$float is 'nan', 'inf' or '-inf', not {short(value)}")
    return float(value)


def _read_map(value: Any, depth: int) -> dict[Any, Any]:
    if type(value) is not list or not all(type(pair) is list and len(pair) == 2 for pair in value):
        raise ValueDecodeError("$map is a list of pairs of key and value")
    for key, _ in value:
        check_key(key, ValueDecodeError)
    return _pairs_from_json(value, depth + 1)


def _text(value: Any, tag: str) -> str:
    if type(value) is not str:
        raise ValueDecodeError(f"{tag} holds text, not {type_name(value)}")
    return value


_READERS: Final[Mapping[Any, Callable[[Any, int], Any]]] = {
    "$bytes": _read_bytes,
    "$time": _read_time,
    "$path": _read_path,
    "$float": _read_float,
    "$map": _read_map,
}
