"""One link: a connection and its number at the replica, from greeting to end."""

from __future__ import annotations

from typing import Final

import anyio

from kvnode.codec import peer as codec
from kvnode.codec.framing import FrameError, frame
from kvnode.core.effects import LinkId
from kvnode.core.messages import Digest, Message, Versions
from kvnode.core.ticks import check_name
from kvnode.transport.base import Connection

WRITABLE_BYTES: Final = 64 * 1024
"""After so much output the replica is told when the queue has drained."""
LOW_WATER_BYTES: Final = 64 * 1024
_ANSWERED: Final = (Digest, Versions)
"""What a peer answers without delay, with its session or an acknowledgement."""
LINK_LEVEL: Final = -1
"""Number of messages that belong to the link: the replica of a newer or older version ignores it."""


class Link:
    """The way out of a link, see :class:`~kvnode.node.pending.Port`, and what is known of the peer.

    `name` and `session` are empty until its hello came, at `since` (milliseconds of `Now.mono`). `fatal` says that
    redialling will not help, `redundant` that there is another link to the same node.
    """

    def __init__(self, connection: Connection, *, dialled: bool) -> None:
        self.connection: Final = connection
        self.dialled: Final = dialled
        self.id: LinkId = 0
        self.name = ""
        self.session = 0
        self.since = 0
        self.fatal = False
        self.why = ""
        self.skew_ms: int | None = None
        """How far the peer's clock is ahead of ours, less the time its last answer took to come; None: not known."""
        self.bytes_out = 0
        self.awaits = False
        """Whether something was sent that the peer answers, and nothing was heard since."""
        self._frames: list[bytes] = []
        self._since_writable = 0
        self._filled = anyio.Event()
        self._left = 0
        self._given_up = anyio.Event()

    # -- the driver's side -----------------------------------------------------------------------------------

    def send(self, seq: int, message: Message) -> None:
        """Take a message of the replica."""
        self.awaits = self.awaits or isinstance(message, _ANSWERED)
        try:
            self._frames.append(frame(codec.encode(seq, message)))
        except FrameError as err:
            self.connection.close(str(err))

    def flush(self) -> None:
        """Queue what was taken, as one piece."""
        data = b"".join(self._frames)
        self._frames.clear()
        if not data or self.connection.is_closed:
            return
        if not self.connection.queue(data):
            self.connection.close("it reads too slowly")
            return
        self.bytes_out += len(data)
        self._since_writable += len(data)
        if self._since_writable >= WRITABLE_BYTES:
            self._filled.set()

    def close(self, why: str, fatal: bool) -> None:
        """The replica gave the link up."""
        self.why, self.fatal = why, fatal
        self._given_up.set()

    # -- the link's own --------------------------------------------------------------------------------------

    def tell(self, message: Message) -> None:
        """Send a message of the link layer."""
        data = frame(codec.encode(LINK_LEVEL, message))
        if self.connection.queue(data):
            self.bytes_out += len(data)

    def moved(self) -> bool:
        """Whether output has left since the last call while more is waiting."""
        queued = self.connection.queued_bytes
        before, self._left = self._left, self.bytes_out - queued
        return queued > 0 and self._left > before

    async def finished(self) -> None:
        """Wait until the replica gave the link up; then what it said before leaves (its hello, for the other side to
        see why), and the connection is closed.
        """
        await self._given_up.wait()
        await self.connection.finish(self.why)

    async def drained(self) -> None:
        """Wait until enough was sent and has left, so that the replica may go on. Raises ConnectionClosed."""
        await self._filled.wait()
        self._filled = anyio.Event()
        self._since_writable = 0
        await self.connection.drained(LOW_WATER_BYTES)


def is_name(text: str) -> bool:
    """Whether a node can be called so."""
    try:
        check_name(text)
    except ValueError:
        return False
    return True
