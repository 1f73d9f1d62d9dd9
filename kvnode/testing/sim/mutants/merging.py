"""Bugs in writing, merging and identity."""

from __future__ import annotations

from collections.abc import Sequence

from kvnode.core.effects import LinkId, Now
from kvnode.core.entry import Merged, Siblings, Version, merge, vector_over
from kvnode.core.identity import Identity
from kvnode.core.link import Link
from kvnode.core.messages import Message
from kvnode.core.replica import Replica
from kvnode.core.ticks import Incarnation

_mint = Identity._mint
_receive = Replica.receive


def merge_by_arrival(siblings: Siblings, new: Version) -> Merged:
    """Whatever comes last is the value, as if somebody had put all changes in order."""
    if any(old.covers(new) for old in siblings):
        return Merged(siblings, (), False)
    return Merged((new,), siblings, True)


def merge_letting_deletes_win(siblings: Siblings, new: Version) -> Merged:
    """A delete takes everything away, also what was written concurrently."""
    merged = merge(siblings, new)
    if merged.added and new.is_tombstone:
        return Merged((new,), siblings, True)
    return merged


def vector_cut_to_one(siblings: Sequence[Version], own: Incarnation) -> dict[Incarnation, int]:
    """The vector has room for one incarnation, the one with the highest tick."""
    vector = vector_over(siblings, own)
    return dict(sorted(vector.items(), key=lambda item: item[1])[-1:])


def vector_over_the_winner(siblings: Sequence[Version], own: Incarnation) -> dict[Incarnation, int]:
    """A write supersedes what was read, and not the siblings that lost."""
    return vector_over(sorted(siblings, key=lambda v: v.order)[-1:], own)


def mint_the_stored_incarnation(self: Identity, now: Now, more: set[Incarnation] | None = None) -> None:
    """A restart goes on with the stored incarnation, behind the highest tick that reached the disk."""
    state = self._state
    if state.inc is not None or not self._predecessors:
        _mint(self, now, more)
        return
    state.inc = min(self._predecessors)
    state.counters[state.inc] = state.known[state.inc].highest
    self._record(set(), more or set(), now)


def receive_whatever_comes(self: Replica, link_id: LinkId, seq: int, message: Message, now: Now) -> None:
    """The numbers of a link's messages are not looked at: lost and repeated ones go unnoticed."""
    link: Link | None = self.links.get(link_id)
    if link is not None:
        link.seq_in = seq
    _receive(self, link_id, seq, message, now)
