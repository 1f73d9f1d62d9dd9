"""Frames of the log: how one commit is written, and how it is found again.

A frame is a fixed header, a head in MessagePack (keys, sizes of records, everything small), and the records one behind
the other, so that the place of each record among them follows from the head. Its checksum covers all of it and the
offset at which it stands: what was copied, moved or half written is no frame. `seq` counts the commits of a store;
`epoch` names the store file that the frame goes on from.

A disk is written in pages, and each commit writes whole ones. So a frame begins at the next page where that is one page
less than to begin in the middle of one. And in one that is to be dense, head and records are compressed where many
small records take fewer pages then: their keys, paths and names repeat.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final, cast

import msgspec

from kvnode.core.history import Past
from kvnode.core.ticks import Incarnation, Ticks

from .base import Batch
from .files import PAGE_BYTES

MAGIC: Final = b"kvl\xf5"
PACKED: Final = b"kvl\xf6"
"""How a frame begins, and one whose head and records are compressed."""
EPOCH_BYTES: Final = 8
_HEADERS: Final = {MAGIC: struct.Struct("<4s8sQII8s"), PACKED: struct.Struct("<4s8sQIII8s")}
"""Magic, epoch, seq, bytes of the head, bytes of the records, (compressed) of both as they stand, checksum."""
HEADER_BYTES: Final = _HEADERS[MAGIC].size
_PLAIN_SIZES: Final = 2
"""So many sizes has the header of a frame that is not compressed."""
_MOST_PACKED: Final = 1 << 18
"""Longer ones come of batches and loads, seldom; and to read one record all of its frame is uncompressed."""
_SMALL: Final = 512
"""So long is a row on average where keys, paths and names are much of it."""
_FASTEST: Final = 1
"""The level of compression."""
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
    """A frame and where it stands: from `start` up to, not including, `end`. `size` is what it would take uncompressed,
    `record_bytes` of this its records.
    """

    epoch: bytes
    seq: int
    start: int
    end: int
    head: Head
    size: int
    record_bytes: int

    def places(self, base: int) -> Iterator[tuple[bytes, int]]:
        """Each key with the place of its record (see :func:`place_of`), or REMOVED. The first record is at `base`."""
        sizes = self.head.sizes
        if REMOVED not in sizes:  # nearly always
            return zip(self.head.keys, map(place_of, accumulate(sizes, initial=base), sizes), strict=True)
        return self._places_with_gaps(base)

    def _places_with_gaps(self, base: int) -> Iterator[tuple[bytes, int]]:
        at = base
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
    """Place and size of a record as one number: an index of many rows takes half the memory of one with pairs."""
    return at << 32 | size


def span_of(place: int) -> tuple[int, int]:
    """Where the record of this place begins and ends."""
    at = place >> 32
    return at, at + (place & 0xFFFF_FFFF)


def encode(epoch: bytes, seq: int, end: int, batch: Batch, *, dense: bool = False) -> tuple[Frame, bytes]:
    """The frame of a batch that is to stand at `end`, or a little behind it, and its bytes: in a `dense` one many small
    records are compressed.
    """
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
    plain = HEADER_BYTES + len(body)
    sizes: tuple[int, ...] = (len(encoded), len(body) - len(encoded))
    magic = MAGIC
    if dense and PAGE_BYTES < plain <= min(_MOST_PACKED, _SMALL * len(records)):
        packed = zlib.compress(body, _FASTEST)
        if _pages(0, _HEADERS[PACKED].size + len(packed)) < _pages(0, plain):
            magic, body, sizes = PACKED, packed, (*sizes, len(packed))
    header = _HEADERS[magic]
    start = _start(end, header.size + len(body))
    data = header.pack(magic, epoch, seq, *sizes, _sum(epoch, seq, start, sizes, body)) + body
    return Frame(epoch, seq, start, start + len(data), head, plain, sizes[1]), data


def _start(end: int, size: int) -> int:
    """Where so many bytes are put behind `end`, so that they touch as few pages as they can."""
    page = -(-end // PAGE_BYTES) * PAGE_BYTES
    return page if _pages(page, size) < _pages(end, size) else end


def _pages(at: int, size: int) -> int:
    return (at + size - 1) // PAGE_BYTES - at // PAGE_BYTES + 1


def _sizes(records: list[bytes | None]) -> list[int]:
    if None in records:
        return [REMOVED if record is None else len(record) for record in records]
    return list(map(len, cast("list[bytes]", records)))


def read(data: bytes, at: int, *, base: int = 0) -> Frame | None:
    """The sound frame at this place of `data`, which begins at the offset `base` of its file; None if there is none."""
    opened = _open(data, at, base)
    if opened is None:
        return None
    epoch, seq, body, end, sizes = opened
    head_bytes, record_bytes = sizes[:2]
    try:
        head = _decode(_plain(body, sizes, head_bytes))
    except (ValueError, zlib.error):  # sound by its checksum, written by a program with a mistake
        return None
    return Frame(epoch, seq, base + at, base + end, head, HEADER_BYTES + head_bytes + record_bytes, record_bytes)


def records_in(data: bytes, *, base: int) -> memoryview | None:
    """The records of the frame with which `data` begins, one behind the other, None if it is not sound; as for
    :func:`read`.
    """
    opened = _open(data, 0, base)
    if opened is None:
        return None
    _, _, body, _, sizes = opened
    head_bytes, record_bytes = sizes[:2]
    try:
        records = _plain(body, sizes, head_bytes + record_bytes)[head_bytes:]
    except zlib.error:  # as above
        return None
    return records if len(records) == record_bytes else None


def _open(data: bytes, at: int, base: int) -> tuple[bytes, int, memoryview, int, tuple[int, ...]] | None:
    """Of a sound frame epoch and number, head and records as they stand there, where it ends, and the sizes in its
    header.
    """
    header = _HEADERS.get(data[at : at + len(MAGIC)])
    if header is None or at + header.size > len(data):
        return None
    fields = header.unpack_from(data, at)
    epoch, seq, sizes = fields[1], fields[2], fields[3:-1]
    begin = at + header.size
    end = begin + (sizes[0] + sizes[1] if len(sizes) == _PLAIN_SIZES else sizes[-1])
    if end > len(data):
        return None
    body = memoryview(data)[begin:end]
    if _sum(epoch, seq, base + at, sizes, body) != fields[-1]:
        return None
    return epoch, seq, body, end, sizes


def _plain(body: memoryview, sizes: tuple[int, ...], wanted: int) -> memoryview:
    """The first so many bytes of head and records; no more of them is uncompressed. Raises zlib.error."""
    if len(sizes) == _PLAIN_SIZES:
        return body[:wanted]
    return memoryview(zlib.decompressobj().decompress(body, max(wanted, 1)))[:wanted]


def scan(data: bytes, epoch: bytes) -> Iterator[Frame]:
    """All sound frames of this epoch, in the order of the file, also those behind a damaged one."""
    ahead = len(MAGIC)
    at = data.find(epoch, ahead) - ahead
    while at >= 0:
        frame = read(data, at)
        at = data.find(epoch, ahead + (at + 1 if frame is None else frame.end)) - ahead
        if frame is not None:
            yield frame


def _sum(epoch: bytes, seq: int, start: int, sizes: Sequence[int], body: bytes | memoryview) -> bytes:
    state = _seed.copy()
    begin = b"%b%d:%d:%d:%d:" if len(sizes) == _PLAIN_SIZES else b"%b%d:%d:%d:%d:%d:"
    state.update(begin % (epoch, seq, start, *sizes))
    state.update(body)
    return state.digest()
