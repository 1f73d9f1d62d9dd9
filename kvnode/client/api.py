"""The client: :func:`connect` and :class:`Client`."""

from __future__ import annotations

import random as _random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio

from kvnode.core.path import ROOT, Path, Pattern
from kvnode.core.ticks import Dot
from kvnode.transport.address import Address
from kvnode.transport.base import Transport
from kvnode.transport.tasks import background_tasks
from kvnode.transport.tcp import TcpTransport

from . import protocol as p
from .arguments import Expect, address_of, expected, key_of, milliseconds, op_of, packed, path_of, scope_of
from .children import Child, children
from .connecting import Connecting
from .errors import NotFound, ProtocolError, refused, unavailable
from .history import History
from .inspection import Inspection
from .items import ABSENT, Del, Put, Reading, Sibling, Written, reading_of, written_of
from .live import LiveMirror
from .options import Options
from .session import Session
from .streams import RESUME_WAIT_S, BackupStream, DumpStream, EventStream, TreeStream, WatchStream
from .wire import AnyRequest

V = TypeVar("V")

READ_TIMEOUT_S: Final = 10.0
"""Time limit of calls that change nothing."""
WRITE_TIMEOUT_S: Final = 5.0
COMPACT_TIMEOUT_S: Final = 3600.0
"""Rewriting a store takes as long as it takes; a node that is gone shows sooner, by its connection."""
MOST_RECALLED: Final = 10_000
"""Versions of the past that an undo looks through."""
SOFTWARE: Final = "kvnode-python"


@asynccontextmanager
async def connect(
    address: str | Sequence[str],
    *,
    author: str = "",
    patient: bool = False,
    timeout: float = 10.0,  # noqa: ASYNC109  # the limit of one part: the first connection
    transport: Transport | None = None,
    random: Callable[[], float] = _random.random,
    options: Options | None = None,
) -> AsyncIterator[Client]:
    """A client of a node, or of the first of several that answers; it reconnects when the connection breaks.

    An address is ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:PATH``. `author` is what writes say of who made them. Without
    `patient`, raises Unavailable if no node can be reached within `timeout` seconds, or ProtocolError; with it, calls
    wait for a node, each within its own limit.
    """
    texts = [address] if isinstance(address, str) else list(address)
    addresses = [address_of(text) for text in texts]
    if not addresses:
        raise refused("bad_request", "no address was given")
    hello = p.ClientHello(p.PROTOCOL_MIN, p.PROTOCOL_MAX, SOFTWARE, author)
    session = Session(options)
    connecting = Connecting(session, addresses, transport or TcpTransport(), hello, random)
    async with background_tasks() as tasks:
        tasks.start_soon(connecting.run)
        try:
            if not patient:
                await _first_connection(session, addresses, timeout)
            yield Client(session)
        finally:
            session.close()


async def _first_connection(session: Session, addresses: Sequence[Address], timeout_s: float) -> None:
    with anyio.move_on_after(timeout_s) as scope:
        await session.first_connection()
    if scope.cancelled_caught:
        names = ", ".join(map(str, addresses))
        raise unavailable(f"{names}: no answer within {timeout_s:g} s")


class Client:
    """Calls on a node. Safe for any number of tasks of one event loop. Errors are those of :mod:`.errors`."""

    def __init__(self, session: Session) -> None:
        self._session: Final = session

    @property
    def node(self) -> str:
        """The name of the node that it is connected to; empty while there is none."""
        return self._session.node.name if self._session.node else ""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._session.node is not None

    @property
    def inspection(self) -> Inspection:
        """Calls for looking after the node: comparing trees, the quarantine, diagnosis."""
        return Inspection(self._session)

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, path: Path | str) -> Reading:
        """The entry at `path`. Raises NotFound if it has no value."""
        key = key_of(path)
        answer = await self._session.call(p.Get(self._session.next_id(), key), READ_TIMEOUT_S, read=True)
        if not isinstance(answer, p.Got):
            raise _unexpected(answer)
        if answer.row is None:
            raise NotFound("not_found", f"no value at {path}", {"path": str(path)})
        return reading_of(answer.row)

    def tree(
        self,
        path: Path | str = ROOT,
        pattern: Pattern | str | None = None,
        depth: int | None = None,
        *,
        keys: bool = False,
    ) -> TreeStream:
        """The entries at and below `path`, in path order; of them those that fit `pattern` as a whole path, and lie at
        most `depth` levels below it. To be used as ``async with kv.tree() as rows: async for r in rows``. With `keys`
        the node sends no values: each reads as :data:`OMITTED`.
        """
        return TreeStream(self._session, scope_of(path, pattern, depth), keys=keys)

    async def children(self, path: Path | str = ROOT, *, limit: int = 1_000) -> list[Child]:
        """What comes right below `path`, in path order, at most `limit`. The cost goes by their number, whatever lies
        below them.
        """
        return await children(self._session, path_of(path), limit)

    def watch(
        self,
        path: Path | str = ROOT,
        pattern: Pattern | str | None = None,
        depth: int | None = None,
        *,
        latest: bool = False,
        keys: bool = False,
        wait_s: float = RESUME_WAIT_S,
    ) -> WatchStream:
        """Like :meth:`tree`, then :class:`Uptodate`, then every :class:`Change`. With `latest`, a watcher that is too
        slow skips values, and at most one for each path waits for it; without, it is told so by a :class:`Gap`. After
        a reconnect, a node that has not heard yet of what was seen before is given `wait_s` seconds for it; then there
        is a Gap, too.
        """
        return WatchStream(self._session, scope_of(path, pattern, depth), latest=latest, keys=keys, wait_s=wait_s)

    def mirror(
        self,
        path: Path | str = ROOT,
        pattern: Pattern | str | None = None,
        depth: int | None = None,
        *,
        type: type[V] | None = None,
        types: Mapping[str, Any] | None = None,
    ) -> LiveMirror[V]:
        """What :meth:`watch` would tell, held in memory, see :mod:`.live`. With `type` (a dataclass, a class of
        msgspec, ``float``, ``list[str]`` ...) each value is converted to it; `types` has others, by patterns of paths.
        """
        patterns = {Pattern(text): found for text, found in (types or {}).items()}
        return LiveMirror(self, self._session, scope_of(path, pattern, depth), type, patterns)

    async def conflicts(self, path: Path | str = ROOT) -> list[Reading]:
        """The entries at and below `path` where concurrent versions stand side by side."""
        async with TreeStream(self._session, scope_of(path, None, None), conflicts=True) as rows:
            return [reading async for reading in rows]

    # -- writing ---------------------------------------------------------------------------------------------

    async def set(
        self,
        path: Path | str,
        value: Any,
        *,
        ack: str = "disk",
        timeout: float = WRITE_TIMEOUT_S,  # noqa: ASYNC109  # the node needs to know it
        expect: Expect = None,
        expiry: datetime | None = None,
        ttl: float | None = None,
        if_changed: bool = False,
        idempotent: bool = False,
        author: str | None = None,
    ) -> Written:
        """Write a value. Returns when `ack` is reached: ``memory``, ``disk``, ``peer:N`` or ``all``.

        `expect` makes it a compare-and-set. `ttl` makes it a lease: the node deletes it after so many seconds, unless
        it is written again; other nodes that have lost touch with this one show it as stale. `expiry` lets the value
        end at a time of day, by each node's own clock. With `if_changed` nothing is written where this value is the
        only one. `idempotent` says that writing it twice does no harm: then it is repeated if the connection breaks,
        instead of failing with an unknown outcome. An `expect` alone does not make that safe: a node after a crash, or
        another one, may not know of the first try, and then both stand. Raises CasFailed, AckTimeout (the write
        stands), Refused, Unavailable.
        """
        ttl_ms = None if ttl is None else max(int(ttl * 1000), 1)
        op = op_of(Put(path, value, expected(expect), milliseconds(expiry), ttl_ms, if_changed))
        return (await self._write([op], ack, timeout, author, again=idempotent))[0]

    async def delete(
        self,
        path: Path | str,
        *,
        ack: str = "disk",
        timeout: float = WRITE_TIMEOUT_S,  # noqa: ASYNC109  # the node needs to know it
        expect: Expect = None,
        idempotent: bool = False,
        author: str | None = None,
    ) -> Written:
        """Delete what is at `path`; otherwise like :meth:`set`. What another node writes at the same time stays."""
        op = op_of(Del(path, expected(expect)))
        return (await self._write([op], ack, timeout, author, again=idempotent))[0]

    async def batch(
        self,
        writes: Iterable[Put | Del],
        *,
        ack: str = "disk",
        timeout: float = WRITE_TIMEOUT_S,  # noqa: ASYNC109  # the node needs to know it
        idempotent: bool = False,
        author: str | None = None,
    ) -> list[Written]:
        """Make all these writes, or none."""
        ops = [op_of(write) for write in writes]
        if not ops:
            return []
        return await self._write(ops, ack, timeout, author, again=idempotent)

    async def _write(
        self, ops: Sequence[p.Op], ack: str, timeout_s: float, author: str | None, *, again: bool
    ) -> list[Written]:
        timeout_ms = max(int(timeout_s * 1000), 0)
        request = p.Batch(self._session.next_id(), tuple(ops), ack, timeout_ms, author)
        answer = await self._session.call(request, timeout_s, again=again)
        if not isinstance(answer, p.Wrote) or len(answer.writes) != len(ops):
            raise _unexpected(answer)
        return written_of(answer)

    # -- the past --------------------------------------------------------------------------------------------

    async def history(self, path: Path | str, *, limit: int = 100, since: datetime | None = None) -> History:
        """What is at `path`, who wrote it and what they had seen, and what was there before, as far as patterns below
        ``@.history`` had the node keep it: at most `limit` versions, newest first, none written before `since`.
        """
        return await self.inspection.history(path_of(path), limit=limit, since=since)

    async def undo(
        self,
        path: Path | str,
        to: Dot | None = None,
        *,
        ack: str = "disk",
        timeout: float = WRITE_TIMEOUT_S,  # noqa: ASYNC109  # the node needs to know it
        author: str | None = None,
    ) -> tuple[Sibling, Written]:
        """Write the former value of `path` again, or that of the change `to`, as a new change: a compare-and-set on
        what is there. Where there was none before, this deletes. Gives the version that was gone back to, and the
        write. Raises Refused (``no_history``, ``ambiguous``) and what :meth:`set` raises.
        """
        found = await self.history(path, limit=MOST_RECALLED)
        former = found.former(to)
        expect: Expect = found.reading.dots if found.reading is not None else ABSENT
        if former.deleted:
            return former, await self.delete(path, ack=ack, timeout=timeout, expect=expect or ABSENT, author=author)
        written = await self.set(path, former.value, ack=ack, timeout=timeout, expect=expect or ABSENT, author=author)
        return former, written

    # -- events ----------------------------------------------------------------------------------------------

    async def send(self, path: Path | str, value: Any, *, author: str | None = None) -> None:
        """Send an event: an unstored message to whoever listens, on all nodes."""
        where, data = path_of(path), packed(value)
        await self._done(lambda id: p.SendEvent(id, where, data, author), WRITE_TIMEOUT_S)

    def events(
        self, path: Path | str = ROOT, pattern: Pattern | str | None = None, depth: int | None = None
    ) -> EventStream:
        """The events at and below `path`, from now on."""
        return EventStream(self._session, scope_of(path, pattern, depth))

    # -- the node --------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """The state of the node that it is connected to."""
        found = await self._done(lambda id: p.Status(id), READ_TIMEOUT_S, read=True)
        return dict(found)

    async def gc_explain(self, path: Path | str) -> list[str]:
        """Lines that say why a deleted path is still remembered."""
        where = path_of(path)
        found = await self._done(lambda id: p.GcExplain(id, where), READ_TIMEOUT_S, read=True)
        return [str(line) for line in found]

    async def retire(self, name: str) -> None:
        """Remove a member for good: nobody waits for it any more. Raises Refused (``not_found``, ``still_linked``)."""
        await self._done(lambda id: p.Retire(id, name), WRITE_TIMEOUT_S)

    def dump(self, path: Path | str = ROOT) -> DumpStream:
        """All stored records at and below `path`, tombstones included, as :class:`DumpRow`; then its ``known``."""
        return DumpStream(self._session, path_of(path))

    async def load(self, records: Iterable[bytes]) -> int:
        """Take in the versions of these records (:attr:`DumpRow.record`) under their own dots, as if a node had sent
        them; what supersedes them stays on top. Gives how many were new.
        """
        wanted = tuple(records)
        return int(await self._done(lambda id: p.Load(id, wanted), WRITE_TIMEOUT_S, again=True))

    def backup(self) -> BackupStream:
        """The node's store as the bytes of one file, of one moment, in pieces; what was acknowledged as on disk before
        is in it. ``kv store restore`` takes such a file.
        """
        return BackupStream(self._session)

    async def compact(self) -> tuple[int, int]:
        """Have the node give space that its store no longer needs back; gives its bytes on disk before and after."""
        before, after = await self._done(lambda id: p.Compact(id), COMPACT_TIMEOUT_S, again=True)
        return int(before), int(after)

    async def _done(
        self, make: Callable[[int], AnyRequest], timeout_s: float, *, read: bool = False, again: bool = False
    ) -> Any:
        answer = await self._session.call(make(self._session.next_id()), timeout_s, read=read, again=again)
        if not isinstance(answer, p.Done):
            raise _unexpected(answer)
        return answer.value


def _unexpected(answer: p.Answer) -> ProtocolError:
    return ProtocolError("protocol_error", f"the node answered with {type(answer).__name__}")
