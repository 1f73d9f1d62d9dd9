"""What a soak measures of a node: its process, by the system's own figures, its files, and what it says of itself."""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from kvnode.client import Client
from kvnode.core.entry import decode_record
from kvnode.store.files import LOG_FILES
from kvnode.store.sqlite import FILE_NAME

_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


class Process(NamedTuple):
    """A process at a moment. Linux only: read from ``/proc``."""

    rss_kib: int
    fds: int
    threads: int


def process_now(pid: int) -> Process:
    """Raises OSError if it is gone."""
    place = Path(f"/proc/{pid}")
    pages = int((place / "statm").read_text().split()[1])
    return Process(pages * _PAGE_KIB, _open_files(place / "fd"), len(os.listdir(place / "task")))


def _open_files(place: Path) -> int:
    """All but the segments of the log: each of them stays open once it has been written to, which may take long."""
    return sum(not _target(place / name).endswith(LOG_FILES) for name in os.listdir(place))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed meanwhile
        return ""


class Files(NamedTuple):
    """A store's files, in KiB: the snapshot, and the log in front of it."""

    db_kib: int
    wal_kib: int


def files_now(data: Path) -> Files:
    """Of the store in this directory."""
    return Files(_kib(data / FILE_NAME), sum(_kib(data / f"{FILE_NAME}{suffix}") for suffix in LOG_FILES))


def _kib(path: Path) -> int:
    try:
        return path.stat().st_size // 1024
    except FileNotFoundError:
        return 0


class Counts(NamedTuple):
    """What a node says of itself. `tombstones` counts the paths that hold nothing else: beside a value, a delete is a
    conflict, and stays until somebody decides it. `live_kib` is the size of all entries as stored, `digest` a hash over
    paths and live dots, `linked` names the peers.
    """

    entries: int
    tombstones: int
    incarnations: int
    live_kib: float
    digest: str
    linked: frozenset[str]


async def counts_now(kv: Client) -> Counts:
    """Ask it. Raises KvError."""
    status = await kv.status()
    size, tombstones, digest, now_ms = 0, 0, blake2b(digest_size=8), time.time_ns() // 1_000_000
    rows = kv.dump()
    async with rows:
        async for row in rows:
            size += len(row.key) + len(row.record)
            live = [version.dot for version in decode_record(row.record) if not version.is_gone(now_ms)]
            if live:
                digest.update(f"{row.key.hex()} {live}\n".encode())
            else:
                tombstones += 1
    linked = frozenset(peer["name"] for peer in status["peers"] if peer["state"] == "linked")
    return Counts(status["entries"], tombstones, len(rows.known.map), size / 1024, digest.hexdigest(), linked)


class Row(NamedTuple):
    """One line of the CSV: a node in one window of time, with the latencies of calls in it."""

    at_s: float
    node: str
    rss_kib: int
    fds: int
    threads: int
    db_kib: int
    wal_kib: int
    entries: int
    tombstones: int
    incarnations: int
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
