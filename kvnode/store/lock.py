"""One process per store: an exclusive lock on a file beside it that tells who holds it.

The file stays when the lock goes: removing it would let two processes lock two files of one name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Final

from .base import StoreLocked, from_os_error

_flock: Callable[[int], None] | None
try:
    import fcntl
except ImportError:  # not Unix: SQLite's own exclusive lock still keeps others out, only namelessly
    _flock = None
else:

    def _flock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


class FileLock:
    """The lock of the store `store_path`. Another holder in the same process counts as another holder."""

    def __init__(self, store_path: str) -> None:
        self._store_path: Final = store_path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise :class:`StoreLocked`; another :class:`StoreError` if there can be no lock file."""
        try:
            fd = os.open(f"{self._store_path}.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise from_os_error(self._store_path, error) from error
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _lock(self, fd: int) -> None:
        if _flock is None:
            return
        try:
            _flock(fd)
        except OSError as error:
            if error.errno in _HELD:
                raise StoreLocked(self._store_path, _read_pid(fd)) from None
            raise from_os_error(self._store_path, error) from error
        with contextlib.suppress(OSError):  # the name is a courtesy, a full disk shall not stop us
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = None


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 20, 0).strip()
    return int(text) if text.isdigit() else None
