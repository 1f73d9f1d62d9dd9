"""Values as MessagePack; what they are is told in :mod:`kvnode.codec.values`, which is where to import from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from kvnode.core.path import Path

MAX_VALUE_BYTES: Final = 1 << 20
"""The longest packed value, in bytes."""
MAX_DEPTH: Final = 64
"""How deep lists and maps may be nested."""
MAX_INT_BYTES: Final = 1024
"""The longest integer. Python refuses to print one of more than 4300 digits: a value that nobody can look at without
an exception is none we take."""

EXT_BIG_INT: Final = 2
EXT_PATH: Final = 3

_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 64) - 1
_WHAT: Final = "a value is None, bool, int, float, str, bytes, an aware datetime, a Path, or a list or dict of those"
_HINTS: Final = {
    "Decimal": "give a float, or text",
    "UUID": "give its text, or its bytes",
    "bytearray": "give bytes(...)",
    "date": "give a datetime with a time zone, or text",
    "frozenset": "give a sorted list",
    "memoryview": "give bytes(...)",
    "set": "give a sorted list",
}


class ValueCodecError(ValueError):
    """What all errors here are. `where` leads to the place inside the value, such as ``value['rooms'][3]``."""

    def __init__(self, what: str, where: tuple[str | int, ...] = ()) -> None:
        super().__init__(what, where)
        self.what = what
        self.keys = where

    @property
    def where(self) -> str:
        """The place, as one would write it in Python."""
        return "value" + "".join(f"[{short(key)}]" for key in self.keys)

    def within(self, key: object) -> ValueCodecError:
        """The same error, seen from the container that holds the place under `key`; a key that is none adds nothing."""
        return type(self)(self.what, (key, *self.keys)) if isinstance(key, (str, int)) else self

    def __str__(self) -> str:
        return f"{self.what} (at {self.where})" if self.keys else self.what


class ValueTypeError(ValueCodecError):
    """An object that is no value."""


class ValueTooLarge(ValueCodecError):
    """A value beyond MAX_VALUE_BYTES, MAX_DEPTH or MAX_INT_BYTES."""


class ValueDecodeError(ValueCodecError):
    """Bytes, or a JSON form, that carry no value."""


def short(key: object) -> str:
    """`key` for an error message, cut where it is long."""
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."


_encode: Final = msgspec.msgpack.Encoder().encode
_AS_IS: Final = frozenset({type(None), bool})
_NAN: Final = float("nan")


def pack(value: Any, *, canonical: bool = False) -> bytes:
    """The bytes of `value`. Raises :class:`ValueTypeError` or :class:`ValueTooLarge`; see the module's text."""
    if type(value) is not str or not value.isascii():  # such text, the most frequent value, is encoded as it is
        value = _Packer(canonical).plain(value, 0)
    packed = _encode(value)
    if len(packed) > MAX_VALUE_BYTES:
        raise _too_large()
    return packed


def _too_large() -> ValueTooLarge:
    return ValueTooLarge(f"the value is longer than {MAX_VALUE_BYTES} bytes; split it over several paths")


class _Packer:
    """Turns a value into what msgspec encodes as we want it; refuses what is none.

    The budget keeps a small object that contains another one many times from being written out in full.
    """

    __slots__ = ("budget", "canonical")

    def __init__(self, canonical: bool) -> None:
        self.budget = MAX_VALUE_BYTES
        self.canonical = canonical

    def plain(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _AS_IS:
            self.spend(0)
            return value
        if kind is float:
            self.spend(8)
            return value if value == value else _NAN
        if kind is int:
            self.spend(0)
            return value if _MIN_INT <= value <= _MAX_INT else _pack_big(value)
        if kind is str:
            self.spend(len(value))
            return value if value.isascii() else _checked_text(value)
        if kind is bytes:
            self.spend(len(value))
            return value
        if kind is dict:
            return self.plain_map(value, depth + 1)
        if kind is list or kind is tuple:
            return self.plain_list(value, depth + 1)
        return self.other(value, depth)

    def spend(self, size: int) -> None:
        """Take at least one byte from the budget."""
        self.budget -= size + 1
        if self.budget < 0:
            raise _too_large()

    def plain_list(self, value: Iterable[Any], depth: int) -> list[Any]:
        _check_depth(depth)
        self.spend(0)
        out: list[Any] = []
        try:
            for item in value:
                out.append(self.plain(item, depth))
        except ValueCodecError as error:
            raise error.within(len(out)) from None
        return out

    def plain_map(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        _check_depth(depth)
        self.spend(0)
        out: dict[Any, Any] = {}
        key: Any = None
        try:
            for key, item in sorted(value.items(), key=_key_order) if self.canonical else value.items():
                out[self.plain_key(key)] = self.plain(item, depth)
        except ValueCodecError as error:
            raise error.within(key) from None
        return out

    def plain_key(self, key: Any) -> Any:
        check_key(key, ValueTypeError)
        return self.plain(key, MAX_DEPTH)

    def other(self, value: Any, depth: int) -> Any:
        """What is less common: paths, times, and subclasses, which count as what they derive from."""
        if isinstance(value, Path):
            text = str(value).encode()
            self.spend(len(text))
            return msgspec.msgpack.Ext(EXT_PATH, text)
        if isinstance(value, datetime):
            self.spend(4)
            return to_utc(value)
        if isinstance(value, dict):
            return self.plain_map(value, depth + 1)
        if isinstance(value, (list, tuple)):
            return self.plain_list(value, depth + 1)
        for base, exact in _EXACT:
            if isinstance(value, base):
                return self.plain(exact(value), depth)
        raise _no_value(value)


_EXACT: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (str, str.__str__),
    (bytes, lambda value: b"".join((value,))),
)


def check_key(key: Any, error: type[ValueCodecError]) -> None:
    """Raise `error` unless `key` may be the key of a map: text, or an integer of 64 bits (see the module's text)."""
    if isinstance(key, str):
        return
    if isinstance(key, bool) or not isinstance(key, int):
        raise error(f"the key of a map is str or int, not {type_name(key)}")
    if not _MIN_INT <= key <= _MAX_INT:
        raise error("an integer key of a map lies in -2**63 .. 2**64-1")


def _key_order(item: tuple[Any, Any]) -> tuple[bool, Any]:
    key = item[0]
    check_key(key, ValueTypeError)
    return (isinstance(key, str), key)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueTooLarge(f"lists and maps are nested deeper than {MAX_DEPTH}")


def type_name(value: object) -> str:
    """The name of its type, with the module unless it is built in."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _no_value(value: object) -> ValueTypeError:
    hint = _HINTS.get(type(value).__name__, _WHAT)
    return ValueTypeError(f"{type_name(value)} is no value: {hint}")


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueTypeError("text with a lone surrogate is not valid Unicode; give bytes") from None
    return text


def _pack_big(value: int) -> msgspec.msgpack.Ext:
    size = (value + (value < 0)).bit_length() // 8 + 1
    if size > MAX_INT_BYTES:
        raise ValueTooLarge(f"an integer is at most {MAX_INT_BYTES} bytes long, this one is {size}; give bytes")
    return msgspec.msgpack.Ext(EXT_BIG_INT, value.to_bytes(size, "big", signed=True))


def to_utc(value: datetime) -> datetime:
    """The same instant in UTC; ValueTypeError if it names none."""
    if value.utcoffset() is None:
        raise ValueTypeError("a datetime without a time zone names no instant; use .astimezone() or tzinfo=UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueTypeError(f"the time {value.isoformat()} is outside the years 1 to 9999 in UTC") from None


def _read_ext(code: int, data: memoryview) -> Any:
    if code == EXT_PATH:
        return Path.parse(bytes(data).decode())
    if code != EXT_BIG_INT:
        raise ValueDecodeError(f"the extension type {code} is unknown")
    if not 0 < len(data) <= MAX_INT_BYTES:
        raise ValueDecodeError(f"an integer of {len(data)} bytes; 1 to {MAX_INT_BYTES} are allowed")
    return int.from_bytes(data, "big", signed=True)


_decode: Final = msgspec.msgpack.Decoder(ext_hook=_read_ext).decode


def unpack(packed: bytes | msgspec.Raw) -> Any:
    """The value of these bytes: lists for arrays, times in UTC. Raises :class:`ValueDecodeError` for any others."""
    if type(packed) is not bytes:
        packed = bytes(packed)
    if len(packed) > MAX_VALUE_BYTES:
        raise ValueDecodeError(f"the value has {len(packed)} bytes, more than {MAX_VALUE_BYTES}")
    try:
        value = _decode(packed)
    except ValueDecodeError:
        raise
    except RecursionError:
        raise ValueDecodeError(f"lists and maps are nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise ValueDecodeError(f"these bytes are no value: {error}") from None
    if type(value) is dict or type(value) is list:
        _check_decoded(value, 1)
    return value


def _check_decoded(value: Any, depth: int) -> None:
    """Refuse what MessagePack can say and a value cannot be: other keys, deeper nesting."""
    if depth > MAX_DEPTH:
        raise ValueDecodeError(f"lists and maps are nested deeper than {MAX_DEPTH}")
    items = value
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                check_key(key, ValueDecodeError)
        items = value.values()
    for item in items:
        if type(item) is dict or type(item) is list:
            _check_decoded(item, depth + 1)
