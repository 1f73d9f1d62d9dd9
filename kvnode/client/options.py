"""The named bounds and delays of a client's session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """See the module's text. All times in seconds."""

    hello_timeout: float = 5.0
    """For the node's first answer."""
    backoff_first: float = 0.05
    """Pause after the first failure; it doubles with each, and is drawn from its upper half."""
    backoff_most: float = 5.0
    grace: float = 2.0
    """A call that was sent is given so much more than its time limit: the node answers within the limit, or says why
    not.
    """
    ping_after: float = 15.0
    """Silence after which the node is asked whether it is there; after as much again the connection is given up."""
    max_calls: int = 10_000
    """Calls under way; more are refused."""
