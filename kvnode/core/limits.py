"""The named bounds of a replica. All times in milliseconds, all sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and delays; every queue, message and loop of the core is held by one of these."""

    max_skew_ms: int = 60_000
    """A remote stamp further ahead of the local clock does not move it."""
    max_value_bytes: int = 1 << 20
    """The largest encoded value of one version."""
    max_author_bytes: int = 256
    """The longest author or principal."""
    max_batch_changes: int = 10_000
    """Changes in one atomic batch."""
    chunk_bytes: int = 1 << 16
    """Versions of a session go out in messages of about this size."""
    window_bytes: int = 1 << 19
    """Given to a link before the driver has said that its queue drained; what is over stays a set of missing dots."""
    recent_incarnations: int = 16
    """Listed in full in a digest; the others are hashed."""
    ack_delay_ms: int = 50
    """Own acknowledgements are joined for this long: each of them costs all nodes a message."""
    prompt_ack_delay_ms: int = 1
    """The same where a writer waits."""
    relay_ack_delay_ms: int = 200
    """Acknowledgements of third parties are joined for this long."""
    links_delay_ms: int = 1_000
    """New links of a process are told to a peer no sooner than this after the last ones."""
    beat_ms: int = 10_000
    """A process shows that it lives by an acknowledgement at least this often."""
    retell_checks: int = 4
    """After so many checks of a link its acknowledgements are told anew from the start: nothing said is relied on for
    ever."""
    lazy_ms: int = 300
    """A relayed change goes to a peer that is itself linked to the origin only after this time without its ack."""
    lazy_most_ms: int = 3_000
    """The same for a peer whose acknowledgements take long."""
    hold_ms: int = 1_000
    """A session that has brought nothing for so long is no reason any more to leave another one for later."""
    held_most_ms: int = 15_000
    """A peer that catches up from another one is sent what it lacks after this time without an ack, unasked."""
    check_ms: int = 30_000
    """Quiet links compare known and fingerprints this often."""
    diverged_checks: int = 3
    """After so many comparisons in a row a difference that settle has not ended is reported."""
    forget_delay_ms: int = 50
    """Stripping and forgetting run this long after an acknowledgement."""
    forget_batch: int = 2_000
    """Paths looked at in one such run."""
    close_delay_ms: int = 30_000
    """An incarnation of ours that turned up is closed by a new record only after this time: a clone may live."""
    duplicate_grace_ms: int = 3_000
    """Two processes of one name that both lived for longer than this at the same time are a clone, not a restart."""
    duplicate_clear_ms: int = 30_000
    """Without a sign of life for this long, a session is no longer counted as live."""
    settle_parts: int = 8
    """Into so many parts a differing range is split."""
    settle_leaf: int = 16
    """A range with no more paths is listed."""
    unsure: int = 4_096
    """Of so many paths and versions a partial replica may be unsure on one link; what is more counts at once."""
    settle_paths: int = 256
    """Paths in one question of a settle."""
    event_sessions: int = 1_024
    """Senders of events whose last number is remembered."""
    quarantine: int = 1_000
    """Versions that were set aside and are kept to be looked at, and restored."""
    quarantine_bytes: int = 1 << 24
    """The size of all of them together."""
    early_acks: int = 256
    """Acknowledgements held until the digest that they refer to is resolved."""
    names: int = 4_096
    """Names whose acknowledgements are remembered; those that are no members go first."""
    sessions_per_name: int = 8
    """Processes of one name whose acknowledgements are remembered."""
