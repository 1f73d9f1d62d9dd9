"""Stores: what a replica wants kept, on disk or in memory. See :mod:`kvnode.store.base` for what they promise."""

from __future__ import annotations

from .base import (
    NoStore,
    Store,
    StoreDamaged,
    StoreError,
    StoreExists,
    StoreFull,
    StoreIOError,
    StoreLocked,
    StoreReadOnly,
    StoreTooNew,
)
from .logged import LoggedStore
from .memory import MemoryDisk, MemoryStore, Snapshot
from .sqlite import SqliteStore

__all__ = [
    "LoggedStore",
    "MemoryDisk",
    "MemoryStore",
    "NoStore",
    "Snapshot",
    "SqliteStore",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreExists",
    "StoreFull",
    "StoreIOError",
    "StoreLocked",
    "StoreReadOnly",
    "StoreTooNew",
]
