"""What a store is, and how it fails.

A store keeps what a replica asks it to keep (:class:`~kvnode.core.effects.Persist`) and gives it back when a process
starts. It knows nothing of versions: keys and records are bytes to it, known ticks are range sets.

Doubts (rule R6): what a store cannot vouch for it leaves out and tells, a line each, in ``Loaded.doubts``. The
doubts stay with the store - every load tells them again - until the first commit that follows a load. That commit
must therefore carry what the replica made of them (its known, cut down to the dots it holds): were they forgotten
at load, a crash in between would leave a store that claims to know changes it has lost.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, ClassVar, Final, Protocol

from kvnode.core.effects import Loaded, Persist
from kvnode.core.history import Past
from kvnode.core.ticks import Incarnation, Ticks


class Store(Protocol):
    """Holds the rows, known ticks and identity of one node. Used by one thread at a time, not always the same one.

    The constructor touches nothing. :meth:`load` opens; it must be called once before the first commit.
    """

    @property
    def blocking(self) -> bool:
        """Whether load, commit and close may take long and belong on a worker thread."""

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        """Whether :meth:`commit` of these, right now, would take no more than one small write and sync. It may be
        wrong in saying no, and the commit may fail in any case.
        """

    def load(self) -> Loaded:
        """Open the store if it is not open yet, and give what it holds, rows ascending by key.

        `rows` may be read once and only until the next commit. Raises :class:`StoreError` if the store cannot be
        used at all; damage is no error but a doubt.
        """

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        """Store all batches in one transaction, later ones over earlier ones. Durable when it returns. `dense`: rather
        fewer bytes on the disk than less CPU time, where there is a choice.

        Raises :class:`StoreError`; then nothing of it is stored, and the same commit may be tried again. (A disk that
        failed may still have written all of it, and show it to the next process if it is not tried again.)
        """

    def past(self, low: bytes, high: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Rows on record (see :mod:`kvnode.core.history`) of low <= key < high, the last ones first. A damaged one is
        left out. Raises :class:`StoreError`.
        """

    def forget_past(self, keys: Sequence[bytes]) -> None:
        """Take these rows off the record, durably. Raises :class:`StoreError`."""

    def backup(self) -> BinaryIO:
        """A copy of all that is committed, as the bytes of a store file of its own (see :mod:`.backup`): open at its
        start, and without a name, so that it is gone with its reader. Raises :class:`StoreError`.
        """

    def read_back(self, low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
        """The rows from the key `low` on, at most `limit`, ascending, as they are stored now; None for a record that
        is damaged. Raises :class:`StoreError`.
        """

    def compact(self) -> tuple[int, int]:
        """Give room that is no longer needed back to the file system; gives the bytes on disk before and after. Rows
        of a load cannot be read any further. Raises :class:`StoreError`; nothing that was stored is lost then.
        """

    def close(self) -> None:
        """Release everything. May be called twice; never raises :class:`StoreError`."""


# -- errors --------------------------------------------------------------------------------------------------


class StoreError(Exception):
    """A store cannot do what was asked: where, what, and the way out, in one line. `code` is stable."""

    code: ClassVar[str] = "store_failed"

    def __init__(self, path: str, what: str, way_out: str) -> None:
        super().__init__(path, what, way_out)
        self.path = path
        self.what = what
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.way_out}"


class StoreFull(StoreError):
    """No room on the disk, or the store has reached its bound."""

    code = "store_full"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, f"no room left ({detail})", "free some space; what was not stored is tried again")


class StoreReadOnly(StoreError):
    """The file, its directory or the file system cannot be written."""

    code = "store_read_only"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, f"cannot be written ({detail})", "check its owner, its mode and how the disk is mounted")


class StoreIOError(StoreError):
    """The disk does not do what it was told."""

    code = "store_io_error"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, f"the disk fails ({detail})", "see the kernel's log; replace the disk if it says so")


class StoreDamaged(StoreError):
    """The store was found damaged while in use."""

    code = "store_damaged"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, f"is damaged ({detail})", "restart the node: it saves what can be read")


class StoreTooNew(StoreError):
    """A later version of kvnode wrote this store."""

    code = "store_too_new"

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(
            path,
            f"has schema {found}, this kvnode knows schemas up to {supported}",
            "install the kvnode that wrote it, or start with an empty directory and let the peers fill it",
        )
        self.found = found
        self.supported = supported


class NoStore(StoreError):
    """There is no store to look at."""

    code = "no_store"

    def __init__(self, path: str) -> None:
        super().__init__(path, "there is no store", "give the directory of a node, or a backup")


class StoreExists(StoreError):
    """There is something already where a new file was to be."""

    code = "store_exists"

    def __init__(self, path: str) -> None:
        super().__init__(path, "is there already", "choose another place, or replace it with --force")


class StoreLocked(StoreError):
    """Another process, or another part of this one, has the store open. `pid` is None if that is not known."""

    code = "store_locked"

    def __init__(self, path: str, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another program"
        super().__init__(path, f"is in use by {who}", "stop that one, or give this node a directory of its own")
        self.pid = pid


_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def from_os_error(path: str, error: OSError) -> StoreError:
    """The store error that an error of the operating system amounts to."""
    detail = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StoreFull(path, detail)
    if error.errno in _READ_ONLY:
        return StoreReadOnly(path, detail)
    return StoreIOError(path, detail)


# -- batches -------------------------------------------------------------------------------------------------


RESERVED: Final = "!"
"""Names in `meta` that start so are the store's own."""


class Batch:
    """Several :class:`Persist` as one: what the store looks like after them, one by one. ValueError for a name in
    `meta` that is the store's own.
    """

    __slots__ = ("known", "meta", "past", "quarantine", "rows")

    def __init__(self, batches: Sequence[Persist]) -> None:
        self.rows: Mapping[bytes, bytes | None]
        self.known: Mapping[Incarnation, Ticks | None]
        self.meta: Mapping[str, bytes]
        self.quarantine: Mapping[int, bytes | None]
        self.past: Sequence[Past]
        whole = batches[0] if len(batches) == 1 else _joined(batches)
        self.rows, self.known, self.meta, self.quarantine = whole.rows, whole.known, whole.meta, whole.quarantine
        self.past = whole.past
        for name in self.meta:
            if name.startswith(RESERVED):
                raise ValueError(f"the name {name!r}: names that start with {RESERVED!r} are the store's own")

    def __bool__(self) -> bool:
        return bool(self.rows or self.known or self.meta or self.quarantine or self.past)


def size_of(batches: Iterable[Persist | Batch]) -> int:
    """About how many bytes these take: those of keys and records."""
    size = 0
    for batch in batches:
        size += sum(map(len, batch.rows)) + sum(map(len, filter(None, batch.rows.values())))
        if batch.quarantine:
            size += sum(map(len, filter(None, batch.quarantine.values())))
        if batch.past:
            size += sum(len(item.record) for item in batch.past)
    return size


def _joined(batches: Sequence[Persist]) -> Persist:
    rows: dict[bytes, bytes | None] = {}
    known: dict[Incarnation, Ticks | None] = {}
    meta: dict[str, bytes] = {}
    quarantine: dict[int, bytes | None] = {}
    for batch in batches:
        rows.update(batch.rows)
        known.update(batch.known)
        meta.update(batch.meta)
        quarantine.update(batch.quarantine)
    past = last_of_each([item for batch in batches for item in batch.past])
    return Persist(batches[-1].token if batches else 0, rows, known, meta, quarantine, past)


def last_of_each(past: Sequence[Past]) -> tuple[Past, ...]:
    """Per path the last ones, as many as are to be kept of it: so what waits for a disk that fails is bounded."""
    left: dict[bytes, int] = {item.path_key: item.versions for item in past}
    kept: list[Past] = []
    for item in reversed(past):
        if left[item.path_key]:
            left[item.path_key] -= 1
            kept.append(item)
    return tuple(reversed(kept))
