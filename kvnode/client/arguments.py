"""What callers give, as the protocol has it; whatever is wrong with it raises Refused before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from kvnode.codec.values import ValueCodecError, pack
from kvnode.core.path import Path, PathError, Pattern
from kvnode.core.ticks import Dot
from kvnode.transport.address import Address, parse_address

from . import protocol as p
from .errors import refused
from .items import Absent, Del, Put
from .streams import Scope

Expect = Iterable[Dot] | Absent | None
"""What a write expects: the live dots that were read (``reading.dots``), ABSENT, or None for anything."""


def address_of(text: str) -> Address:
    """The address that this text names."""
    try:
        return parse_address(text)
    except ValueError as err:
        raise refused("bad_address", str(err)) from None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Path:
    try:
        return Path.parse(text)
    except PathError as err:
        raise refused("bad_path", str(err)) from None


def path_of(path: Path | str) -> Path:
    """A path, in whichever form it was given."""
    return path if isinstance(path, Path) else _parsed(path)


@lru_cache(maxsize=4096)
def key_of(path: Path | str) -> bytes:
    """The key of a path."""
    return path_of(path).key


def scope_of(path: Path | str, pattern: Pattern | str | None, depth: int | None) -> Scope:
    """What a stream covers."""
    if isinstance(pattern, str):
        try:
            pattern = Pattern(pattern)
        except PathError as err:
            raise refused("bad_path", str(err)) from None
    return Scope(path_of(path), None if pattern is None else pattern.text, depth)


def packed(value: Any) -> bytes:
    """The bytes of a value."""
    try:
        return pack(value)
    except ValueCodecError as err:
        raise refused("bad_value", str(err)) from None


def expected(expect: Expect) -> frozenset[Dot] | Absent | None:
    """The live dots that a write expects."""
    return expect if expect is None or isinstance(expect, Absent) else frozenset(expect)


def milliseconds(when: datetime | None) -> int | None:
    """A time of expiry in milliseconds since 1970 UTC."""
    if when is None:
        return None
    if when.tzinfo is None:
        raise refused("bad_value", "the time of expiry lacks a time zone")
    return int(when.timestamp() * 1000)


def op_of(write: Put | Del) -> p.Op:
    """A write as the node takes it."""
    path = path_of(write.path)
    expect = None if write.expect is None else _dots(write.expect)
    if isinstance(write, Del):
        return p.Op(path, None, expect)
    return p.Op(path, packed(write.value), expect, write.expiry, write.ttl_ms, write.if_changed)


def _dots(expect: frozenset[Dot] | Absent) -> tuple[Dot, ...]:
    return () if isinstance(expect, Absent) else tuple(sorted(expect))
