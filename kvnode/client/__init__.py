"""The client: read, write and watch a kvnode cluster from asyncio or trio.

::

    async with connect("127.0.0.1:27590", author="me") as kv:
        await kv.set("home.attic.temp", 21.5)
        print((await kv.get("home.attic.temp")).value)
        async with kv.watch("home") as changes:
            async for change in changes:
                print(change)

:mod:`kvnode.client.sync` is the same for programs without an event loop.
"""

from kvnode.transport.address import DEFAULT_PORT, Address, AddressError, parse_address

from . import errors
from .api import Client, connect
from .arguments import Expect
from .children import Child
from .errors import (
    AckTimeout,
    CasFailed,
    Closed,
    KvError,
    NotFound,
    ProtocolError,
    Refused,
    StoreUnavailable,
    Unavailable,
)
from .history import History, Recorded
from .items import (
    ABSENT,
    MISSING,
    OMITTED,
    Absent,
    Change,
    Del,
    EventItem,
    Gap,
    Omitted,
    Put,
    Reading,
    Sibling,
    Undecodable,
    Uptodate,
    Written,
)
from .live import LiveMirror, Unfit, Update
from .mirror import Item
from .options import Options
from .streams import BackupStream, DumpRow, DumpStream, EventStream, TreeStream, WatchStream

__all__ = [
    "ABSENT",
    "DEFAULT_PORT",
    "MISSING",
    "OMITTED",
    "Absent",
    "AckTimeout",
    "Address",
    "AddressError",
    "BackupStream",
    "CasFailed",
    "Change",
    "Child",
    "Client",
    "Closed",
    "Del",
    "DumpRow",
    "DumpStream",
    "EventItem",
    "EventStream",
    "Expect",
    "Gap",
    "History",
    "Item",
    "KvError",
    "LiveMirror",
    "NotFound",
    "Omitted",
    "Options",
    "ProtocolError",
    "Put",
    "Reading",
    "Recorded",
    "Refused",
    "Sibling",
    "StoreUnavailable",
    "TreeStream",
    "Unavailable",
    "Undecodable",
    "Unfit",
    "Update",
    "Uptodate",
    "WatchStream",
    "Written",
    "connect",
    "errors",
    "parse_address",
]
