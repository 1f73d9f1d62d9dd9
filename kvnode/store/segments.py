"""The files of the log: two segments that take turns.

Commits are appended to the active segment. When it is long enough the other one takes over, and what the first holds
is put into the snapshot; then its file is written again from the start. Its old frames need not be removed: the
snapshot tells up to which commit it has everything. A file that is written again in place has its blocks already, so
that a commit costs one write of data and none of the file system's journal.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from heapq import merge
from itertools import chain, islice, pairwise
from mmap import mmap
from typing import BinaryIO, Final

from kvnode.core.history import Past
from kvnode.core.ticks import Incarnation, Ticks

from . import files
from .base import StoreDamaged
from .frames import REMOVED, Frame, read, records_in, span_of
from .rowindex import RowIndex

Content = bytes | mmap
"""The records of a segment at their places."""

STEP_BYTES: Final = 1 << 18
"""So much room is asked for at once, before it is needed."""

_READ_BYTES: Final = 1 << 16
_SORTED_AT_ONCE: Final = 2_000

_sync: Final = getattr(os, "fdatasync", os.fsync)


class Segment:
    """One file of the log, and an index of what it holds that the snapshot lacks: `runs` of commits without a gap, as
    first and last number; the places of records by key, and what is small by itself. The next frame goes to `end` or
    behind it. `size` is what all of it takes uncompressed. Records have their places in the row of all of them, one
    behind the other.
    """

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self._fd: int | None = None
        self._room = 0
        self._forget()

    def _forget(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.end = 0
        self.size = 0
        self.index = RowIndex()
        self.known: dict[Incarnation, Ticks | None] = {}
        self.meta: dict[str, bytes] = {}
        self.quarantine: dict[int, bytes | None] = {}
        self.has_past = False
        self._record_bytes = 0
        self._starts = array("Q")
        self._bases = array("Q")
        """Of each frame where it starts, and the place of its first record."""

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def last(self) -> int:
        """The number of its last commit, 0 if there is none."""
        return self.runs[-1][1] if self.runs else 0

    # -- what it holds ---------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """The next frame of this file."""
        if self.runs and frame.seq == self.last + 1:
            self.runs[-1] = (self.runs[-1][0], frame.seq)
        else:
            self.runs.append((frame.seq, frame.seq))
        self.end = frame.end
        self.size += frame.size
        self._starts.append(frame.start)
        self._bases.append(self._record_bytes)
        self.index.add(frame, self._record_bytes)
        self._record_bytes += frame.record_bytes
        self.known.update(frame.known())
        self.meta.update(frame.head.meta)
        self.quarantine.update(frame.head.quarantine)
        self.has_past = self.has_past or bool(frame.head.past)

    def content(self) -> Content:
        """All records at their places, read from the file and checked. Raises :class:`.base.StoreDamaged`, OSError.
        (They are many: memory of their own goes back to the system, what malloc once gave out for them mostly stays.)
        """
        if not self:
            return b""
        data: Content = mmap(-1, self._record_bytes) if self._record_bytes else b""
        for start, base, frame in zip(self._starts, self._bases, self._frames(), strict=True):
            records = records_in(frame, base=start)
            if records is None:
                raise StoreDamaged(self.path, "a commit in it has a wrong checksum")
            if records and isinstance(data, mmap):
                data[base : base + len(records)] = records
        return data

    def _frames(self) -> Iterator[bytes]:
        """The bytes of each frame, and those up to the next one. Raises OSError."""
        with open(self.path, "rb", buffering=_READ_BYTES) as file:
            file.seek(self._starts[0])
            for start, end in pairwise(chain(self._starts, (self.end,))):
                yield file.read(end - start)

    def _frame(self, file: BinaryIO, number: int) -> bytes:
        start = self._starts[number]
        file.seek(start)
        return file.read((self._starts[number + 1] if number + 1 < len(self._starts) else self.end) - start)

    def past(self) -> Iterator[Past]:
        """What its frames put on record of the past, in their order. Raises OSError."""
        if self.has_past:
            for start, data in zip(self._starts, self._frames(), strict=True):
                if (frame := read(data, 0, base=start)) is not None:
                    yield from frame.head.past

    def records(self, places: Iterable[int]) -> dict[int, bytes | None]:
        """The records at these places, read from the file, each frame once; None for those in a damaged one. Raises
        OSError.
        """
        found: dict[int, bytes | None] = {}
        last, records = -1, None
        with open(self.path, "rb") as file:
            for place in sorted(places):
                at, end = span_of(place)
                number = bisect_right(self._bases, at) - 1
                if number != last:
                    last, records = number, records_in(self._frame(file, number), base=self._starts[number])
                base = self._bases[number]
                found[place] = None if records is None else bytes(records[at - base : end - base])
        return found

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes, at: int) -> None:
        """Put these bytes behind the end, not yet durably. Raises OSError; the same may then be tried again."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            self._room = os.fstat(self._fd).st_size
        if at + len(data) > self._room:
            self._make_room(self._fd, at + len(data))
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, at)
            view, at = view[done:], at + done

    def _make_room(self, fd: int, size: int) -> None:
        """A file that is long enough already needs no change of its length at each commit. On a disk that has too
        little room for more than this frame, or cannot do this, writing will tell.
        """
        wanted = -(-size // STEP_BYTES) * STEP_BYTES
        if hasattr(os, "posix_fallocate"):
            with contextlib.suppress(OSError):
                os.posix_fallocate(fd, self._room, wanted - self._room)
                self._room = wanted

    def sync(self) -> None:
        """Wait until what was written is on disk. Raises OSError; then nobody knows what of it is."""
        if self._fd is not None:
            _sync(self._fd)

    def clear(self, kept_bytes: int) -> None:
        """All that it holds is in the snapshot: the next frame stands at the start again. A file that is longer than
        `kept_bytes` gives its room back; any other keeps it, for blocks that are there already cost less to write.
        """
        self._forget()
        with contextlib.suppress(OSError):
            if os.path.getsize(self.path) > kept_bytes:
                os.truncate(self.path, 0)
                self._room = 0

    def close(self) -> None:
        """Give the file back to the system."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def create(segments: Sequence[Segment], *, anew: bool) -> None:
    """Make the files, empty, where there are none, or (`anew`) in any case; durably, for this user only. At no moment
    is there none where there was one. Raises OSError.
    """
    for segment in segments:
        if anew or not os.path.exists(segment.path):
            segment.close()
            new = f"{segment.path}.new"
            os.close(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, files.FILE_MODE))
            os.replace(new, segment.path)
        files.make_private(segment.path)
    files.sync_directory(os.path.dirname(segments[0].path))


def remove(segments: Sequence[Segment]) -> None:
    """Remove the files. Raises OSError."""
    for segment in segments:
        segment.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(segment.path)


def places_in(segments: Sequence[Segment], keys: Set[bytes]) -> dict[bytes, tuple[Segment, int]]:
    """For each of these keys the last one of the segments that holds it, and where."""
    return {key: (segment, place) for segment in segments for key, place in segment.index.last_of(keys).items()}


def changed_rows(segments: Sequence[Segment], contents: Sequence[Content]) -> Iterator[tuple[bytes, bytes | None]]:
    """All rows that the segments, later ones over earlier ones, set or (None) remove, ascending by key. `contents` are
    those of the segments.
    """
    newest_first = [(segment.index.table(), content) for segment, content in zip(segments, contents, strict=True)][::-1]
    for key in _ascending(newest_first[0][0] if len(segments) == 1 else set().union(*(of for of, _ in newest_first))):
        for table, content in newest_first:
            if (place := table.get(key)) is not None:
                at, end = span_of(place)
                yield key, None if place == REMOVED else content[at:end]
                break


def _ascending(keys: Iterable[bytes]) -> Iterator[bytes]:
    """As sorted() does, but in pieces: no other thread of Python runs while something is sorted at once."""
    rest = iter(keys)
    return merge(*iter(lambda: sorted(islice(rest, _SORTED_AT_ONCE)), []))
