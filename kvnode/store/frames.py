"""Frames of the log: how one commit is written, and how it is found again.

A frame is a fixed header, a head in MessagePack (keys, sizes of records, everything small), and the records one behind
the other, so that the place of each record follows from the head. Its checksum covers all of it and the offset at
which it stands: what was copied, moved or half written is no frame. `seq` counts the commits of a store; `epoch` names
the store file that the frame goes on from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from itertools import accumulate
from mmap import mmap
from typing import Final, cast

import msgspec

from kvnode.core.history import Past
from kvnode.core.ticks import Incarnation, Ticks

from .base import Batch

Content = bytes | mmap
"""What stands in a file of the log: frames at their offsets."""

MAGIC: Final = b"kvl\xf5"
EPOCH_BYTES: Final = 8
_HEADER: Final = struct.Struct("<4s8sQII8s")
"""Magic, epoch, seq, bytes of the head, bytes of the records, checksum."""
HEADER_BYTES: Final = _HEADER.size
REMOVED: Final = -1
"""In the place of a size, and of a place: the row is removed."""
_seed: Final = blake2b(digest_size=8, person=b"kvnode.log")


class Head(msgspec.Struct, array_like=True, frozen=True):
    """What a frame holds besides the records of its rows: their keys and sizes, and all else of a batch."""

    keys: list[bytes]
    sizes: list[int]
    known: dict[Incarnation, tuple[int, ...] | None]
    meta: dict[str, bytes]
    quarantine: dict[int, bytes | None]
    past: list[Past]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Head).decode


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame and where it stands: from `start` up to, not including, `end`; its records begin at `records`."""

    epoch: bytes
    seq: int
    start: int
    records: int
    end: int
    head: Head

    def places(self) -> Iterator[tuple[bytes, int]]:
        """Each key with the place of its record (see :func:`place_of`), or REMOVED."""
        sizes = self.head.sizes
        if REMOVED not in sizes:  # nearly always
            return zip(self.head.keys, map(place_of, accumulate(sizes, initial=self.records), sizes), strict=True)
        return self._places_with_gaps()

    def _places_with_gaps(self) -> Iterator[tuple[bytes, int]]:
        at = self.records
        for key, size in zip(self.head.keys, self.head.sizes, strict=True):
            if size == REMOVED:
                yield key, REMOVED
            else:
                yield key, place_of(at, size)
                at += size

    def known(self) -> dict[Incarnation, Ticks | None]:
        """The known ticks that it sets, None for those that it removes."""
        return {inc: None if bounds is None else Ticks(bounds) for inc, bounds in self.head.known.items()}


def place_of(at: int, size: int) -> int:
    """Offset and size of a record as one number: an index of many rows takes half the memory of one with pairs."""
    return at << 32 | size


def span_of(place: int) -> tuple[int, int]:
    """Where the record of this place begins and ends."""
    at = place >> 32
    return at, at + (place & 0xFFFF_FFFF)


def encode(epoch: bytes, seq: int, start: int, batch: Batch) -> tuple[Frame, bytes]:
    """The frame of a batch that is to stand at `start`, and its bytes."""
    records = list(batch.rows.values())
    head = Head(
        list(batch.rows),
        _sizes(records),
        {inc: None if ticks is None else ticks.bounds for inc, ticks in batch.known.items()},
        dict(batch.meta),
        dict(batch.quarantine),
        list(batch.past),
    )
    encoded = _encode(head)
    body = b"".join([encoded, *filter(None, records)])
    sizes = (len(encoded), len(body) - len(encoded))
    header = _HEADER.pack(MAGIC, epoch, seq, *sizes, _sum(epoch, seq, start, sizes, body))
    records_at = start + HEADER_BYTES + len(encoded)
    return Frame(epoch, seq, start, records_at, records_at + sizes[1], head), header + body


def _sizes(records: list[bytes | None]) -> list[int]:
    if None in records:
        return [REMOVED if record is None else len(record) for record in records]
    return list(map(len, cast("list[bytes]", records)))


def read(data: Content, at: int, *, base: int = 0) -> Frame | None:
    """The sound frame at this place of `data`, which begins at the offset `base` of its file; None if there is none."""
    if not is_sound(data, at, base=base):
        return None
    _, epoch, seq, head_bytes, record_bytes, _ = _HEADER.unpack_from(data, at)
    head_at = at + HEADER_BYTES
    records = head_at + head_bytes
    try:
        head = _decode(memoryview(data)[head_at:records])
    except ValueError:  # sound by its checksum, written by a program with a mistake
        return None
    return Frame(epoch, seq, base + at, base + records, base + records + record_bytes, head)


def is_sound(data: Content, at: int, *, base: int = 0) -> bool:
    """Whether a whole frame with the right checksum stands at this place; `data` as for :func:`read`."""
    body_at = at + HEADER_BYTES
    if body_at > len(data):
        return False
    magic, epoch, seq, head_bytes, record_bytes, checksum = _HEADER.unpack_from(data, at)
    end = body_at + head_bytes + record_bytes
    if magic != MAGIC or end > len(data):
        return False
    body = memoryview(data)[body_at:end]
    return bool(_sum(epoch, seq, base + at, (head_bytes, record_bytes), body) == checksum)


def scan(data: bytes, epoch: bytes) -> Iterator[Frame]:
    """All sound frames of this epoch, in the order of the file, also those behind a damaged one."""
    start = MAGIC + epoch
    at = data.find(start)
    while at >= 0:
        frame = read(data, at)
        at = data.find(start, at + 1 if frame is None else frame.end)
        if frame is not None:
            yield frame


def _sum(epoch: bytes, seq: int, start: int, sizes: tuple[int, int], body: bytes | memoryview) -> bytes:
    state = _seed.copy()
    state.update(b"%b%d:%d:%d:%d:" % (epoch, seq, start, *sizes))
    state.update(body)
    return state.digest()
