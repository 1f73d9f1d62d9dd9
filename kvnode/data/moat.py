"""The saved state of moat-kv, read and mapped to our tree. Pure.

Such a file is a stream of MessagePack maps. Those with `nodes`, `known` or `deleted` are the state of its replication,
which means nothing here. The others are entries::

    {"path": [...], "depth": N, "value": ..., "chain": {"node": ..., "tick": ..., "prev": ...}, "tock": N}

`depth` says how many elements of the path before this one lead on to `path`; without it the path is whole, and does
not count as the one before. A log of changes has the chain's fields in the map itself. An entry without `value` is
deleted. Several entries of one path occur in logs: the greatest `tock` counts, as it did there.

What lies below the path element ``null`` is moat-kv's own: types, codecs, users, running code. It comes to ``@.moat``,
where nothing acts upon it; users' credentials are left out, since their hashes could be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedIOBase
from typing import Any, Final, NamedTuple

from kvnode.codec.values import ValueCodecError, pack
from kvnode.core.path import Path, PathError

HIDDEN: Final = ("@", "moat")
"""Where the hidden tree goes."""
SECRET: Final = frozenset({"auth"})
"""What of the hidden tree is left out."""
MAX_BUFFER_BYTES: Final = 64 << 20
"""The longest single record that is read."""
_STATE: Final = frozenset({"nodes", "known", "deleted", "remote_missing", "node"})


class MoatError(Exception):
    """The file is none of moat-kv's, or ends too early. One line, with the place."""


class Skipped(NamedTuple):
    """An entry that could not be mapped: its path as it is there, and why."""

    path: str
    why: str


@dataclass(slots=True)
class MoatState:
    """What a file holds: values by path, and what became of the rest."""

    values: dict[Path, Any] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    deleted: int = 0
    states: int = 0
    cut_at: int | None = None
    """The byte at which the file breaks off in the middle of a record."""

    def hidden(self) -> int:
        """How many of the values come from the hidden tree."""
        return sum(path[: len(HIDDEN)] == HIDDEN for path in self.values)


# -- the file ------------------------------------------------------------------------------------------------


def read_state(file: BufferedIOBase) -> MoatState:
    """Read a whole file. Raises MoatError, and OSError of the file."""
    state = MoatState()
    tocks: dict[Path, int] = {}
    last: tuple[Any, ...] = ()
    for record in _records(file, state):
        if "path" not in record:
            state.states += bool(_STATE & record.keys())
            continue
        whole, last = _whole_path(record, last)
        _take(state, tocks, whole, record)
    return state


def _records(file: BufferedIOBase, state: MoatState) -> Iterator[Mapping[Any, Any]]:
    """The maps of the stream. Notes where it breaks off."""
    import msgpack

    unpacker = msgpack.Unpacker(
        file, ext_hook=_extension, timestamp=3, strict_map_key=False, max_buffer_size=MAX_BUFFER_BYTES
    )
    while True:
        at = unpacker.tell()
        try:
            record = unpacker.unpack()
        except msgpack.OutOfData:
            if file.tell() > at:
                state.cut_at = at
            return
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as err:
            raise MoatError(f"byte {at}: no record of moat-kv ({err or type(err).__name__})") from None
        if not isinstance(record, dict):
            raise MoatError(f"byte {at}: no record of moat-kv (a map is expected, this is {type(record).__name__})")
        yield record


def _whole_path(record: Mapping[Any, Any], last: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The path of a record, and what the next one's `depth` refers to."""
    rest, depth = record["path"], record.get("depth")
    if isinstance(rest, _Foreign):
        rest = rest.elements
    if not isinstance(rest, (list, tuple)):
        raise MoatError(f"a path is a list of elements, not {type(rest).__name__}")
    if depth is None:
        return tuple(rest), last
    if not isinstance(depth, int) or not 0 <= depth <= len(last):
        raise MoatError(f"depth {depth!r} of a path that follows one of {len(last)} elements")
    whole = (*last[:depth], *rest)
    return whole, whole


# -- entries -------------------------------------------------------------------------------------------------


def _take(state: MoatState, tocks: dict[Path, int], whole: tuple[Any, ...], record: Mapping[Any, Any]) -> None:
    """Map one entry, or note why not."""
    value = record.get("value", record.get("new_value", _ABSENT))
    try:
        where = _path(whole)
        mapped = _ABSENT if value is _ABSENT else _value(value)
    except (_UnmappableError, PathError, ValueCodecError) as err:
        if value is not _ABSENT:
            state.skipped.append(Skipped(_shown(whole), str(err)))
        return
    tock = record.get("tock")
    tock = tock if isinstance(tock, int) else 0
    if tock < tocks.get(where, tock):
        return
    tocks[where] = tock
    if mapped is _ABSENT:
        state.deleted += 1
        state.values.pop(where, None)
        return
    state.values[where] = mapped


class _UnmappableError(Exception):
    """Why something of moat-kv has no place here."""


_ABSENT: Final = object()


def _path(whole: tuple[Any, ...]) -> Path:
    if not whole:
        raise _UnmappableError("the root holds no value here")
    if whole[0] is not None:
        if whole[0] == "@":
            raise _UnmappableError("'@' is the system's own tree here; rename it there first")
        return Path(_element(e) for e in whole)
    if len(whole) > 1 and whole[1] in SECRET:
        raise _UnmappableError("users and their credentials do not come along")
    return Path((*HIDDEN, *(_element(e) for e in whole[1:])))


def _element(element: Any) -> str | int:
    if isinstance(element, bool) or not isinstance(element, (str, int)):
        kind = "null" if element is None else type(element).__name__
        raise _UnmappableError(f"a path element is text or an integer here, not {kind}: {element!r}")
    return element


def _value(value: Any) -> Any:
    """A value as one of ours, packed once to see that it is one."""
    plain = _plain(value)
    pack(plain)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, _Foreign):
        if value.code == _PATH or value.code == _MARKED_PATH:
            return Path(_element(e) for e in value.elements)
        raise _UnmappableError(f"it holds an object that only moat-kv's Python can read (extension type {value.code})")
    if isinstance(value, dict):
        return {_map_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


def _map_key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise _UnmappableError(f"a map has text or integers as keys here, not {type(key).__name__}: {key!r}")
    return key


def _shown(whole: Iterable[Any]) -> str:
    """A path for people, also one that is none here."""
    try:
        return str(Path(whole))
    except PathError:
        return ".".join("null" if e is None else str(e) for e in whole)


# -- extension types -----------------------------------------------------------------------------------------

_BIG_INT: Final = 2
_PATH: Final = 3
_MARKED_PATH: Final = 6


@dataclass(frozen=True, slots=True)
class _Foreign:
    """An extension object: a path (`elements`), or one that has no place here. Hashable, as it may be a map's key."""

    code: int
    elements: tuple[Any, ...] = ()


def _extension(code: int, data: bytes) -> Any:
    """Big integers are unsigned there and bare bytes; a path is its elements, packed one after the other; a marked
    path has its mark before them.
    """
    import msgpack

    if code == _BIG_INT:
        return int.from_bytes(data, "big")
    if code not in (_PATH, _MARKED_PATH):
        return _Foreign(code)
    unpacker = msgpack.Unpacker(ext_hook=_extension, timestamp=3, strict_map_key=False)
    unpacker.feed(data)
    elements = tuple(unpacker)
    return _Foreign(code, elements[1:] if code == _MARKED_PATH else elements)
