"""What can go wrong with a request to a node, each with a stable code and the fields that a caller needs.

The caller's errors (:class:`RefusedError`), the environment's (:class:`StoreUnavailable`, :class:`AckTimeout`) and
the node's own state (:class:`Stopping`, :class:`Overloaded`) are different classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvnode.core.effects import Refused, Wrote
from kvnode.core.path import Path
from kvnode.core.ticks import Dot


class NodeError(Exception):
    """Base. `code` is stable, the text is one line for people."""

    code = "internal"


class RefusedError(NodeError):
    """The change was not made, nor was anything of its batch; `code` tells why, `dots` are what is there now."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.detail)
        self.code = refused.code
        self.path: Path = refused.path
        self.dots: frozenset[Dot] = refused.dots


class AckTimeout(NodeError):
    """The change stands, here and wherever it has travelled, but the level was not reached in time.

    `missing` names the members whose acknowledgement is lacking, as far as that can be told.
    """

    code = "ack_timeout"

    def __init__(self, wrote: Sequence[Wrote], level: str, missing: Iterable[str] = ()) -> None:
        self.wrote = tuple(wrote)
        self.level = level
        self.missing = tuple(sorted(missing))
        lacking = f" (lacking: {', '.join(self.missing)})" if self.missing else ""
        super().__init__(f"the change stands, but level {level!r} was not reached in time{lacking}")

    @property
    def dots(self) -> tuple[Dot, ...]:
        """The names of the changes that stand."""
        return tuple(w.dot for w in self.wrote)


class StoreUnavailable(NodeError):
    """The local store fails, so nothing can be acknowledged as on disk.

    `wrote` is empty if the change was not made because of that; else it stands in memory and at the peers.
    """

    code = "store_unavailable"

    def __init__(self, why: str, wrote: Sequence[Wrote] = ()) -> None:
        self.wrote = tuple(wrote)
        state = "the change stands in memory and goes to the peers, but" if wrote else "not written:"
        super().__init__(f"{state} the store of this node fails: {why}")

    @property
    def dots(self) -> tuple[Dot, ...]:
        """The names of the changes that stand nevertheless."""
        return tuple(w.dot for w in self.wrote)


class Stopping(NodeError):
    """The node is coming to its end; the change was not made, or what was waited for will not be seen here."""

    code = "stopping"

    def __init__(self, text: str = "the node is stopping") -> None:
        super().__init__(text)


class Overloaded(NodeError):
    """The node did not come to the request in time, and did not carry it out."""

    code = "overloaded"

    def __init__(self, text: str = "the node is too busy; nothing was written") -> None:
        super().__init__(text)


class StartError(NodeError):
    """The node cannot start: the text is one line and says what to change."""

    code = "start_failed"
