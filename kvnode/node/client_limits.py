"""The bounds of serving clients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The named bounds of serving clients."""

    connections: int = 512
    """Clients at once; more are refused."""
    streams: int = 256
    """Trees, watches, events and dumps of one connection at once."""
    writes: int = 1_024
    """Writes of one connection that wait for their acknowledgement at once; then its reader pauses."""
    workers: int = 64
    """Other requests of one connection that wait for something at once."""
    waiting: int = 1_024
    """Further such requests that are taken from it; then its reader pauses."""
    output_bytes: int = 1 << 20
    """Output of one connection that is queued before its reader and its streams pause."""
    drained_bytes: int = 1 << 18
    """They go on when the queue has become this short."""
    turn_requests: int = 256
    """Requests of one connection handled before others have their turn."""
    timeout_ms: int = 3_600_000
    """The longest time-out of a write."""
    wait_ms: int = 60_000
    """The longest that a resuming watch waits for the node to know its context."""
    idle_s: float = 120.0
    """A connection from which nothing was heard for so long is closed; clients ping more often."""
    current_poll_s: float = 0.1
    """How often a watch looks whether the node has caught up (R5)."""
