"""The log of a store: commits that its snapshot, the SQLite file, does not hold yet.

What is found when a store is opened: frames that the snapshot has are old ones and are passed over. The others must go
on from it without a gap in their numbers. So a commit that was half written when the power went, at the end, is passed
over in silence, for nobody was told that it is durable; one that is damaged or missing with sound ones behind it is a
doubt (rule R6), and so is a file that is gone, or that belongs to another store. The end of the log cannot be told from
a log that was cut short there: then the store is an older state of itself, which is sound, and the peers fill it up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from . import files
from .base import Batch
from .frames import EPOCH_BYTES, encode, read, scan
from .mark import Mark
from .segments import Segment, create, remove

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})

RandomBytes = Callable[[int], bytes]


class Log:
    """The log beside the store file `path`. `doubts` tells what of it was lost, in a few words each; `trusted` is False
    when its files must be made anew before anything is written to them.
    """

    def __init__(self, path: str, mark: Mark | None, *, damaged: bool = False) -> None:
        """Look at what is there; `mark` is that of the store file, None if it has none. `damaged`: it may have lost it,
        so that a log found beside it is taken for its own.
        """
        self._path: Final = path
        self._segments: Final = tuple(Segment(f"{path}{suffix}") for suffix in files.LOG_FILES)
        self.doubts: list[str] = []
        self.epoch = b""
        self._next = 1
        self._active = self._segments[0]
        contents = [_content(segment.path) for segment in self._segments]
        if mark is None and damaged:
            mark = _lost_mark(contents)
        if mark is not None:
            self.epoch, self._next = mark.epoch, mark.applied + 1
            self._take(contents, mark)
        self._look_for_others(contents)
        self.trusted = not self.doubts

    # -- what was found --------------------------------------------------------------------------------------

    def _take(self, contents: list[bytes | None], mark: Mark) -> None:
        for segment, content in zip(self._segments, contents, strict=True):
            if content is None:
                if mark.live:
                    self._doubt(f"its log {os.path.basename(segment.path)} is gone")
                continue
            for frame in scan(content, mark.epoch):
                if frame.seq > max(mark.applied, segment.last):
                    segment.take(frame)
        self._active = max(self._segments, key=lambda segment: segment.last)
        self._check_order()

    def _check_order(self) -> None:
        """No number may be missing."""
        for segment in self.pending:
            for first, last in segment.runs:
                if first > self._next:
                    self._doubt(f"{first - self._next} commits in its log are damaged or missing")
                self._next = last + 1

    def _look_for_others(self, contents: list[bytes | None]) -> None:
        for segment, content in zip(self._segments, contents, strict=True):
            first = read(content, 0) if content else None
            if first is not None and first.epoch != self.epoch:
                self._doubt(f"the log {os.path.basename(segment.path)} beside it is that of another store")

    def _doubt(self, what: str) -> None:
        self.doubts.append(what)

    @property
    def doubt_lines(self) -> tuple[str, ...]:
        """The doubts, as lines that name the store."""
        return tuple(f"{self._path}: {what}" for what in self.doubts)

    # -- what it holds ---------------------------------------------------------------------------------------

    @property
    def pending(self) -> list[Segment]:
        """The segments with commits that the snapshot lacks, in their order."""
        return [segment for segment in (self.spare, self._active) if segment]

    @property
    def spare(self) -> Segment:
        """The segment that commits are not appended to."""
        return self._segments[self._active is self._segments[0]]

    @property
    def active_bytes(self) -> int:
        """The length of what is in the active segment, uncompressed."""
        return self._active.size

    @property
    def active_rows(self) -> int:
        """The rows that are noted of the active segment: its keys, or some more."""
        return len(self._active.index)

    @property
    def pending_bytes(self) -> int:
        """The length of all that the snapshot lacks, uncompressed."""
        return sum(segment.size for segment in self._segments)

    def file_bytes(self) -> int:
        """What the files take."""
        return sum(os.path.getsize(s.path) for s in self._segments if os.path.exists(s.path))

    # -- writing ---------------------------------------------------------------------------------------------

    def append(self, batch: Batch, *, dense: bool = False) -> None:
        """Add a commit, durably; for `dense` see :func:`.frames.encode`. Raises OSError; then the log is as before, or,
        if that is not certain, no longer trusted.
        """
        frame, data = encode(self.epoch, self._next, self._active.end, batch, dense=dense)
        try:
            self._active.write(data, frame.start)
        except OSError as error:
            self.trusted = error.errno in _NO_ROOM  # then the next frame overwrites the torn one
            raise
        try:
            self._active.sync()
        except OSError:
            # The system may have dropped what it could not write, and would call it written the next time.
            self.trusted = False
            raise
        self._active.take(frame)
        self._next += 1

    def turn(self) -> None:
        """The other segment, which must be empty, becomes the active one."""
        self._active = self.spare

    def prepare(self, random_bytes: RandomBytes) -> Mark:
        """Get ready for a commit that goes to the snapshot, together with all that is pending; gives the mark that it
        must carry. Raises OSError.
        """
        create(self._segments, anew=False)
        if not self.epoch or not self.trusted:
            self.epoch = random_bytes(EPOCH_BYTES)
        mark = Mark(self.epoch, self._next, live=True)
        self._next += 1
        return mark

    def begin_anew(self, kept_bytes: int) -> None:
        """The commit that was prepared is in the snapshot: nothing is pending. Files that are not trusted are set
        aside, with new ones in their place. Raises OSError.
        """
        if not self.trusted:
            files.keep_log(self._path)
            create(self._segments, anew=True)
        for segment in self._segments:
            segment.clear(kept_bytes)
        self._active = self._segments[0]
        self.doubts.clear()
        self.trusted = True

    def close(self) -> None:
        """Give the files back to the system."""
        for segment in self._segments:
            segment.close()

    def remove(self) -> None:
        """Remove the files; nothing is pending. Raises OSError."""
        remove(self._segments)


def _content(path: str) -> bytes | None:
    """All of a file, None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _lost_mark(contents: list[bytes | None]) -> Mark | None:
    """A mark in the place of one that was lost: all that is in the log goes on from it."""
    found = [frame for content in contents if content and (frame := read(content, 0)) is not None]
    if not found:
        return None
    first = min(found, key=lambda frame: frame.seq)
    return Mark(first.epoch, first.seq - 1, live=False)
