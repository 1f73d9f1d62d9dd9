"""Bugs in how a node serves its clients, and in what a client remembers."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from kvnode.client.mirror import Mirror
from kvnode.client.protocol import Marker, Ranges
from kvnode.client.wire import ranges_of
from kvnode.core.checks import refusal
from kvnode.core.effects import Change, Refused, Wrote
from kvnode.core.ticks import Known, Ticks
from kvnode.node import acks
from kvnode.node.acks import AckLevel
from kvnode.node.driver import Driver
from kvnode.node.errors import RefusedError
from kvnode.node.streams import Emit
from kvnode.node.watching import WatchStream, _Pass

_produce_pass = WatchStream._produce_pass
_propose = Driver.propose
_request = Mirror.request


def produce_marker_first(self: WatchStream, going: _Pass, emit: Emit) -> None:
    """The marker goes ahead of what is left of the snapshot."""
    if not vars(going).setdefault("marked", False):
        vars(going)["marked"] = True
        emit(Marker(self.id, ranges_of(going.known), True))
    _produce_pass(self, going, emit)


def request_without_the_last(self: Mirror) -> tuple[Ranges | None, bool]:
    """A client that comes back tells of all it has seen but the last change of each run."""
    context, mirrored = _request(self)
    if context is None:
        return None, False
    seen = {inc: Ticks(tuple(bounds)) for inc, bounds in context.items()}
    return ranges_of(Known({inc: ticks - Ticks.of(ticks.highest) for inc, ticks in seen.items()})), mirrored


async def propose_checked_by_the_caller(
    self: Driver, changes: Sequence[Change], ack: AckLevel = acks.DISK, timeout_s: float = 5.0
) -> list[Wrote]:
    """What a compare-and-set expects is compared in the task that asks, before the write has its turn."""
    for change in changes:
        refused = refusal(self.replica.state, change, self._clock())
        if isinstance(refused, Refused):
            raise RefusedError(refused)
    return await _propose(self, [structs.replace(change, expect=None) for change in changes], ack, timeout_s)
