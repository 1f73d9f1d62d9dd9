"""Reading files of entries: the lines of ``kv dump``, and simpler ones with a path and a value, as ``kv list`` prints.

::

    {"path": "home.temp", "versions": [{"dot": "a~0123456789abcdef:7", "stamp": 1, "value": 21.5}]}
    {"path": "home.temp", "value": 21.5}
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncclick as click
import msgspec

from kvnode.codec.values import ValueCodecError, from_json, pack
from kvnode.core.path import Path, PathError

from .errors import usage
from .rows import DOT
from .stdin import STDIN_FD, read_lines


@dataclass(frozen=True, slots=True)
class Item:
    """What one line says is at a path: the winner of its versions."""

    path: Path
    value: Any
    packed: bytes
    expiry: int | None
    ttl_ms: int | None = None


@contextmanager
def opened(file: str) -> Iterator[tuple[int, str]]:
    """Descriptor and name of a file, or of standard input for ``-``. Raises CliError."""
    if file == "-":
        yield STDIN_FD, "standard input"
        return
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as exc:
        raise usage(f"{file}: {exc.strerror}") from None
    try:
        yield fd, file
    finally:
        os.close(fd)


async def rows_of(fd: int, name: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Place (for messages) and object of each line that is about a path. Raises CliError."""
    async for number, line in read_lines(fd, name):
        where = f"{name}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise usage(f"{where}: not a line of a dump (not JSON)") from None
        if not isinstance(row, dict) or not ("known" in row or "path" in row):
            raise usage(f"{where}: not a line of a dump (no path)")
        if "path" in row:
            yield where, row


class _Version(msgspec.Struct):
    """A version in a line of a dump, as far as it is needed here."""

    dot: str
    stamp: int
    value: Any
    expiry: int | None = None
    lease: tuple[str, int] | None = None


class _Line(msgspec.Struct):
    """A line of a dump."""

    path: str
    versions: list[_Version]


class _Plain(msgspec.Struct):
    """A line with a value."""

    path: str
    value: Any


def item_of(where: str, row: dict[str, Any]) -> Item | None:
    """The winner of a line: greatest stamp, then dot. None if it has no value. Raises CliError."""
    try:
        if "versions" not in row and "value" in row:
            if "lease" in row:
                raise usage(f"{where}: a lease; it takes a dump to load one")
            plain = msgspec.convert(row, _Plain)
            value = from_json(plain.value)
            return Item(Path.parse(plain.path), value, pack(value), None)
        line = msgspec.convert(row, _Line)
        path = Path.parse(line.path)
        if not line.versions:
            return None
        best = max(line.versions, key=lambda v: (v.stamp, DOT.convert(v.dot, None, None)))
        value = from_json(best.value)
        return Item(path, value, pack(value), best.expiry, None if best.lease is None else best.lease[1])
    except (msgspec.ValidationError, PathError, ValueCodecError) as exc:
        raise usage(f"{where}: not a line of a dump: {exc}") from None
    except click.UsageError as exc:
        raise usage(f"{where}: not a line of a dump: {exc.message}") from None


def record_of(where: str, row: dict[str, Any]) -> bytes:
    """The stored record of a line. Raises CliError."""
    text = row.get("record")
    if not isinstance(text, str):
        raise usage(f"{where}: no record; --versions needs a dump made with kv dump --records")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise usage(f"{where}: record is not base64: {exc}") from None
