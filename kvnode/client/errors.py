"""What can go wrong with a call, each with a stable code.

=================== ==================== ==================================================================
class               code                 meaning
=================== ==================== ==================================================================
NotFound            ``not_found``        there is no value at the path
CasFailed           ``cas_failed``       the entry is no longer as it was read; `dots` is what is there
AckTimeout          ``ack_timeout``      the write stands, under `dot`; the ack level was not reached in time
StoreUnavailable    ``store_unavailable``  the node's disk fails; `dots` are the writes that stand nevertheless
Unavailable         ``unavailable``      no node could be reached, or it went away; see `outcome`
Unavailable         ``timeout``          the node did not answer in time; see `outcome`
Unavailable         ``stopping``, ``overloaded``  the node does not take the call now; nothing was done
Closed              ``closed``           the client, or the stream, was closed here
ProtocolError       ``protocol_error``   the other side is no node, or speaks another version
Refused             any other            the node refused: ``too_large``, ``reserved``, ``bad_value``, ``bad_path``,
                                         ``bad_request``, ``limit``, ``still_linked``, ``internal`` ...;
                                         ``no_history``, ``ambiguous``: nothing, or no one thing, to go back to;
                                         ``too_old``: it does not know this request yet
=================== ==================== ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kvnode.core.ticks import Dot

UNKNOWN: Final = "unknown"
"""Outcome of a write that was sent and not answered: it may stand, or not."""
NOT_DONE: Final = "not_done"
"""Outcome of a call that certainly had no effect."""


class KvError(Exception):
    """Base of all errors here. `code` is stable, the text is one line for people, `fields` is for programs."""

    def __init__(self, code: str, message: str, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields: dict[str, Any] = dict(fields or {})

    @property
    def dots(self) -> tuple[Dot, ...]:
        """The changes that the error is about."""
        return _dots(self.fields.get("dots", ()))


class NotFound(KvError):
    """There is no value."""


class Refused(KvError):
    """The node, or the client before asking it, refused the call. Nothing was done."""


class CasFailed(Refused):
    """The entry was not as expected; `dots` are its live values."""


class AckTimeout(KvError):
    """The write stands, but its ack level was not reached in time; `missing` names who did not acknowledge."""

    @property
    def dot(self) -> Dot:
        """The (first) change that stands."""
        return self.dots[0]

    @property
    def missing(self) -> tuple[str, ...]:
        """Members whose acknowledgement is lacking, as far as the node can tell."""
        return tuple(self.fields.get("missing", ()))


class StoreUnavailable(KvError):
    """The node's disk fails. `dots` are changes that stand in its memory and at its peers."""


class Unavailable(KvError):
    """No node answered. `outcome` tells what is known of the call's effect."""

    @property
    def outcome(self) -> str:
        """:data:`UNKNOWN` or :data:`NOT_DONE`."""
        return str(self.fields.get("outcome", NOT_DONE))


class Closed(KvError):
    """The client or the stream was closed here."""


class ProtocolError(KvError):
    """The other side is no node, or there is no common protocol version."""


_CLASSES: Final[Mapping[str, type[KvError]]] = {
    "not_found": NotFound,
    "cas_failed": CasFailed,
    "ack_timeout": AckTimeout,
    "store_unavailable": StoreUnavailable,
    "unavailable": Unavailable,
    "timeout": Unavailable,
    "stopping": Unavailable,
    "overloaded": Unavailable,
    "closed": Closed,
    "protocol_error": ProtocolError,
}


def error(code: str, message: str, fields: Mapping[str, Any] | None = None) -> KvError:
    """The error of a code; one that this version does not know is a :class:`Refused`."""
    return _CLASSES.get(code, Refused)(code, message, fields)


def unavailable(message: str, outcome: str = NOT_DONE, code: str = "unavailable") -> Unavailable:
    """No answer."""
    return Unavailable(code, message, {"outcome": outcome})


def refused(code: str, message: str, **fields: Any) -> Refused:
    """A call that the client itself refuses."""
    return Refused(code, message, fields)


def _dots(found: Iterable[Any]) -> tuple[Dot, ...]:
    return tuple(Dot(str(inc), int(tick)) for inc, tick in found)
