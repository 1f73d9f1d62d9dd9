"""Damage to the files of a store whose process is gone. What is done is decided by the random source alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Final

from kvnode.store.files import LOG_FILES, PAGE_BYTES
from kvnode.store.frames import MAGIC, PACKED
from kvnode.store.sqlite import FILE_NAME

Damage = Callable[[Path, Random], str]
"""Breaks the store in a directory; says how, for people."""

_FILE_HEADER: Final = 100
_PAGE_HEADER: Final = 12


def _file(directory: Path) -> Path:
    return directory / FILE_NAME


def _logs(directory: Path) -> list[Path]:
    """The segments of its log."""
    return [path for suffix in LOG_FILES if (path := directory / f"{FILE_NAME}{suffix}").exists()]


def _log(directory: Path, rng: Random) -> Path:
    """A segment in which there is something, if there is one."""
    logs = _logs(directory)
    return rng.choice([path for path in logs if _used(path)] or logs)


def _used(path: Path) -> int:
    """How much of a segment was ever written; behind it there is only room."""
    return len(path.read_bytes().rstrip(b"\0"))


def _cut(path: Path, size: int) -> str:
    before = path.stat().st_size
    os.truncate(path, size)
    return f"{path.name} cut from {before} to {size} bytes"


def _flip(path: Path, places: list[int], rng: Random) -> str:
    data = bytearray(path.read_bytes())
    for at in places:
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{path.name}: a bit flipped at {', '.join(map(str, places))}"


def _pages(path: Path) -> int:
    return path.stat().st_size // PAGE_BYTES


def cut_file(directory: Path, rng: Random) -> str:
    """The file ends too early, anywhere."""
    return _cut(_file(directory), rng.randrange(_file(directory).stat().st_size))


def cut_header(directory: Path, rng: Random) -> str:
    """Not even the first page is whole."""
    return _cut(_file(directory), rng.randrange(PAGE_BYTES))


def flip_anywhere(directory: Path, rng: Random) -> str:
    """Single bits, a few, anywhere in the file."""
    size = _file(directory).stat().st_size
    return _flip(_file(directory), [rng.randrange(size) for _ in range(rng.choice((1, 3, 20)))], rng)


def flip_file_header(directory: Path, rng: Random) -> str:
    """A bit in the header of the file. That of the schema's number is left out: a later schema is refused."""
    places = [at for at in range(_FILE_HEADER) if not 60 <= at < 64]
    return _flip(_file(directory), [rng.choice(places)], rng)


def flip_page_header(directory: Path, rng: Random) -> str:
    """A bit where a page says what it is."""
    page = rng.randrange(1, _pages(_file(directory)))
    return _flip(_file(directory), [page * PAGE_BYTES + rng.randrange(_PAGE_HEADER)], rng)


def overwrite_page(directory: Path, rng: Random) -> str:
    """A page holds something else: zeros, noise, or another page."""
    path = _file(directory)
    data = bytearray(path.read_bytes())
    at, other = (rng.randrange(_pages(path)) * PAGE_BYTES for _ in range(2))
    what = rng.choice((bytes(PAGE_BYTES), rng.randbytes(PAGE_BYTES), bytes(data[other : other + PAGE_BYTES])))
    data[at : at + PAGE_BYTES] = what
    path.write_bytes(data)
    return f"{path.name}: page {at // PAGE_BYTES} overwritten"


def garbage(directory: Path, rng: Random) -> str:
    """The file holds noise."""
    _file(directory).write_bytes(rng.randbytes(rng.choice((1, 5_000, 100_000))))
    return f"{FILE_NAME} replaced by noise"


def empty(directory: Path, rng: Random) -> str:
    """The file holds nothing."""
    return _cut(_file(directory), 0)


def remove_file(directory: Path, rng: Random) -> str:
    """The file is gone, its log is there."""
    _file(directory).unlink()
    return f"{FILE_NAME} removed"


def cut_log(directory: Path, rng: Random) -> str:
    """The log ends too early."""
    path = _log(directory, rng)
    return _cut(path, rng.randrange(max(_used(path), 1)))


def flip_log(directory: Path, rng: Random) -> str:
    """Bits in the log."""
    path = _log(directory, rng)
    size = _used(path)
    return _flip(path, [rng.randrange(size) for _ in range(3)] if size else [], rng)


def tear_log(directory: Path, rng: Random) -> str:
    """The last commit in a segment of the log is half written, as when the power goes."""
    path = _log(directory, rng)
    data = path.read_bytes()
    last = max(data.rfind(MAGIC), data.rfind(PACKED))
    if last < 0:
        return f"{path.name}: nothing to tear"
    at = rng.randrange(last, max(_used(path), last + 1))
    path.write_bytes(data[:at] + bytes(len(data) - at))
    return f"{path.name}: nothing is left from {at} on"


def remove_log(directory: Path, rng: Random) -> str:
    """The log is gone, or half of it."""
    logs = _logs(directory)
    gone = logs[rng.randrange(max(len(logs), 1)) :]
    for path in gone:
        path.unlink()
    return f"{', '.join(path.name for path in gone)} removed"


def remove_all(directory: Path, rng: Random) -> str:
    """An empty directory: a new disk."""
    for path in directory.iterdir():
        path.unlink()
    return "everything removed"


FILE_DAMAGE: Final[Mapping[str, Damage]] = {
    damage.__name__: damage
    for damage in (
        cut_file,
        cut_header,
        flip_anywhere,
        flip_file_header,
        flip_page_header,
        overwrite_page,
        garbage,
        empty,
        remove_file,
    )
}
"""What befalls the file."""
LOG_DAMAGE: Final[Mapping[str, Damage]] = {
    damage.__name__: damage for damage in (cut_log, flip_log, tear_log, remove_log, remove_all)
}
"""What leaves the file alone: either it shows, or the store is an older state of itself, which is sound, and nobody but
a peer can tell.
"""
ALL_DAMAGE: Final[Mapping[str, Damage]] = {**FILE_DAMAGE, **LOG_DAMAGE}
