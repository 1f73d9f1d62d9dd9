"""Stores that hold real records, as a node writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kvnode.core.effects import Persist
from kvnode.core.entry import Version, body_of, encode_record
from kvnode.core.path import Path as KvPath
from kvnode.core.ticks import Dot
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import INC

COUNT = 300
"""Entries of the store that tests look at."""
VALUE = msgspec.msgpack.encode("x" * 200)


def path_of(tick: int) -> KvPath:
    return KvPath(("home", tick % 7, f"sensor{tick}"))


def version(tick: int, *, path: KvPath | None = None, inc: str = INC) -> Version:
    return Version.make(Dot(inc, tick), {}, body_of(path or path_of(tick), tick << 16, VALUE, "me"))


def entries(*versions: Version) -> dict[bytes, bytes | None]:
    return {v.key: encode_record((v,)) for v in versions}


def store_of(directory: Path, *batches: Persist) -> Path:
    """Commit these in a store, new or old; gives its file."""
    store = SqliteStore(directory)
    store.load()
    store.commit(batches)
    store.close()
    return directory / FILE_NAME
