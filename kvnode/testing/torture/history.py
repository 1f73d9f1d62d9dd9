"""The history of a run: what clients asked for and were told, what watchers saw, what was done to nodes and network.

One JSON object a line, in the order of the times. The form follows Jepsen's histories (Kingsbury): an *invoke* is
answered by *ok*, by *fail* (nothing was done), or by *info* (nobody knows); and here also by *stands* (the write was
made, but its ack level was not reached). Times are nanoseconds of one clock. Every value is written once, so that it
tells its write; dots are in the text form of ``kv dump``, INCARNATION:TICK.

This module knows nothing of kvnode, and neither does the checker, which reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec


class WriteOf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One write of an operation. A value of None deletes; `expect` are the dots of a compare-and-set, empty for "no
    value", None for no condition.
    """

    path: str
    value: str | None
    expect: tuple[str, ...] | None = None


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, tag=str.lower):
    """Base of all records."""

    at: int


class Invoke(_Record, frozen=True):
    """A client asks `node` for something: to make `writes` (all or none), or to read `path`."""

    op: int
    client: str
    node: str
    writes: tuple[WriteOf, ...] = ()
    ack: str = ""
    path: str = ""


class Ok(_Record, frozen=True):
    """Done: the dots of the writes, or what lives at the path that was read, as value by dot. `stale`: the node said
    that it had yet to catch up.
    """

    op: int
    dots: tuple[str, ...] = ()
    live: Mapping[str, str] = {}
    stale: bool = False


class Stands(_Record, frozen=True):
    """The writes were made under these dots; their ack level was not reached in time."""

    op: int
    dots: tuple[str, ...]


class Fail(_Record, frozen=True):
    """Nothing was done."""

    op: int
    code: str


class Info(_Record, frozen=True):
    """Nobody knows whether it was done."""

    op: int
    code: str


class Watching(_Record, frozen=True):
    """A watch of what is at and below `scope` begins. `latest`: it asked for the latest values only."""

    watch: int
    node: str
    scope: str
    latest: bool = False


class Seen(_Record, frozen=True):
    """A watch was told what now lives at a path, as value by dot."""

    watch: int
    path: str
    live: Mapping[str, str] = {}


class Mark(_Record, frozen=True):
    """A watch was told ``uptodate`` or ``gap``; or ``final``: at the quiet end it has been told everything."""

    watch: int
    what: str
    why: str = ""


class Fault(_Record, frozen=True):
    """Something was done to a node (``kill``, ``start``, ``stop``, ``cont``), or ``cuts``: from now on messages pass
    everywhere but in these directions.
    """

    what: str
    node: str = ""
    cuts: tuple[tuple[str, str], ...] = ()


Record = Invoke | Ok | Stands | Fail | Info | Watching | Seen | Mark | Fault

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Record]] = msgspec.json.Decoder(Record)


class History:
    """Writes a history to a file. `clock` gives the time in nanoseconds and never goes back."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._clock: Final = clock
        self._numbers = 0
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def now(self) -> int:
        """The time."""
        return self._clock()

    def number(self) -> int:
        """A new number, for an operation or a watch."""
        self._numbers += 1
        return self._numbers

    def add(self, record: Record) -> None:
        """Append a record; its time is :attr:`now`, or shortly before."""
        kind = type(record).__name__.lower()
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._file.write(_encoder.encode(record) + b"\n")


def read_history(path: Path) -> Iterator[Record]:
    """The records of a file. Raises msgspec.ValidationError for a line that is none."""
    with path.open("rb") as lines:
        yield from parse(lines)


def parse(lines: Iterable[bytes | str]) -> Iterator[Record]:
    """The records of these lines."""
    return (_decoder.decode(line) for line in lines)
